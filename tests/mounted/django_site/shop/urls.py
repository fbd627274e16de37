"""The one page of the shop, which has a session."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def home(request: HttpRequest) -> HttpResponse:
    request.session["basket"] = "pen"
    return HttpResponse("<h1>The shop</h1>")


urlpatterns = [path("", home)]
