"""The kinds of a shop, for HAULIER_KINDS=tests.browser.shop: its deployment is bad until a file says that it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
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


def of(name: str) -> Callable[[JobContext, dict[str, Any]], dict[str, Any]]:
    """Return a handler that fails as long as the deployment is bad."""

    def run(context: JobContext, payload: dict[str, Any]) -> dict[str, Any]:
        if payload["is_new"] and not FIXED.is_file():
            raise Fail(BAD[name].format(n=payload["order"]))
        return {"order": payload["order"]}

    return run


for each in BAD:
    kind(each, schema=Order)(of(each))
