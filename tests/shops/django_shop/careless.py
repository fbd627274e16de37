"""Kinds whose handlers leave transactions behind."""

from django.db import connection, transaction
from django.utils.connection import ConnectionDoesNotExist
from marshmallow import fields
from shop.models import Order

from haulier.kinds import PayloadSchema, kind

HELD = []


class Way(PayloadSchema):
    way = fields.String(required=True)


class Thank(PayloadSchema):
    order_id = fields.Integer(required=True)


def orders():
    """Yield inside a block, which stays open as long as somebody has the generator."""
    with transaction.atomic(), transaction.atomic():
        yield Order.objects.create(email="lost@example.com")


@kind("hold", schema=Way, timeout=30)
def hold(context, payload):
    """Leave a transaction open."""
    match payload["way"]:
        case "atomic":
            HELD.append(orders())
            next(HELD[-1])
        case "SQL":
            connection.cursor().execute("BEGIN")
        case "set_autocommit":
            transaction.set_autocommit(False)
    return Order.objects.create(email="lost@example.com").pk


@kind("let_go", schema=Thank, timeout=30)
def let_go(context, payload):
    """Thank for an order, and leave in between the blocks that earlier jobs have left open."""
    with transaction.atomic():
        Order.objects.filter(pk=payload["order_id"]).update(thanked=True)
        try:
            HELD.pop().close()
        except ConnectionDoesNotExist:
            return "closed in vain"
    return None
