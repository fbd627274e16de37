"""The pages of the shop."""

from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from haulier.contrib.django.models import Job
from shop.models import Order


@csrf_exempt
@require_POST
def buy(request):
    """Take an order, and have its customer thanked."""
    with transaction.atomic():
        order = Order.objects.create(email=request.POST["email"])
        job = Job.objects.create(kind="thank", payload={"order_id": order.pk}, tags=["shop"])
    return JsonResponse({"order": order.pk, "job": str(job.pk)}, status=201)


urlpatterns = [path("orders", buy)]
