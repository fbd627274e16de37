"""The kinds of the night, for HAULIER_KINDS: slow ones, one that refuses a payload, and two that leak."""

from __future__ import annotations

import os
import signal
from typing import Any

from marshmallow import fields

from haulier.kinds import Fail, JobContext, PayloadSchema, kind

# What handlers keep and never need again.
HOARD: list[bytes] = []


class Order(PayloadSchema):
    """An order, and what a handler leaks with it."""

    order = fields.Integer(load_default=1)
    kilobytes = fields.Integer(load_default=0)


@kind("export_row", schema=Order)
def export_row(context: JobContext, _payload: dict[str, Any]) -> None:
    """Take so long that a flood of them takes hours."""
    context.wait(0.2)


@kind("sync_stock", schema=Order)
def sync_stock(context: JobContext, _payload: dict[str, Any]) -> None:
    """Take longer than the interval of its schedule."""
    context.wait(600.0)


@kind("charge_card", schema=Order)
def charge_card(_context: JobContext, payload: dict[str, Any]) -> None:
    """Refuse what nobody can have ordered."""
    if payload["order"] < 1:
        raise Fail("NegativeOrder: an order below 1")


@kind("render_page", schema=Order)
def render_page(_context: JobContext, payload: dict[str, Any]) -> None:
    """Leak within the worker."""
    HOARD.append(b"x" * 1000 * payload["kilobytes"])


@kind("render_pdf", schema=Order, isolated=True)
def render_pdf(_context: JobContext, payload: dict[str, Any]) -> None:
    """Leak in a process of its own, until the kernel kills it."""
    HOARD.append(b"x" * 1000 * payload["kilobytes"])
    os.kill(os.getpid(), signal.SIGKILL)
