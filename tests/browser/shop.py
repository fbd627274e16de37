"""The kinds of a shop, for HAULIER_KINDS=tests.browser.shop: its deployment is bad until a file says that it is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from marshmallow import fields

from haulier.kinds import Fail, JobContext, PayloadSchema, kind
from tests.browser.errors import BAD

FIXED = Path(os.environ.get("SHOP_FIXED", os.devnull))


class Order(PayloadSchema):
    """An order. `is_new` is true if it goes the way that the deployment has changed."""

    order = fields.Integer(required=True)
    is_new = fields.Boolean(load_default=False)


def do(name: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return a result, or fail as long as the deployment is bad."""
    if payload["is_new"] and not FIXED.is_file():
        raise Fail(BAD[name].format(n=payload["order"]))
    return {"order": payload["order"]}


@kind("deliver_hook", schema=Order)
def deliver_hook(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Tell a customer."""
    return do("deliver_hook", payload)


@kind("send_receipt", schema=Order)
def send_receipt(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Send a receipt."""
    return do("send_receipt", payload)


@kind("draw_label", schema=Order)
def draw_label(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
    """Draw a label."""
    return do("draw_label", payload)
