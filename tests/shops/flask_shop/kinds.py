"""The jobs of the shop."""

from database import Order, Session
from marshmallow import fields

from haulier.kinds import PayloadSchema, kind


class Thank(PayloadSchema):
    order_id = fields.Integer(required=True)


@kind("thank", schema=Thank, timeout=30)
def thank(context, payload):
    """Thank the customer of an order; its last statement leaves a transaction open, as handlers do that forget it."""
    order = Session.get(Order, payload["order_id"])
    order.thanked = True
    Session.commit()
    return {"email": order.email}
