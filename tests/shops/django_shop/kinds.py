from django.db import transaction
from marshmallow import fields
from shop.models import Order

from haulier.kinds import PayloadSchema, kind


class Thank(PayloadSchema):
    order_id = fields.Integer(required=True)


@kind("thank", schema=Thank, timeout=30)
def thank(context, payload):
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=payload["order_id"])
        order.thanked = True
        order.save()
    return {"email": order.email}
