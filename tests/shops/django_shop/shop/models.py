"""What the shop stores."""

from django.db import models


class Order(models.Model):
    """An order, and whether its customer was thanked."""

    email = models.EmailField()
    thanked = models.BooleanField(default=False)
