"""Django in a worker: HAULIER_MIDDLEWARE=haulier.contrib.django.worker:connections.

Importing it sets Django up, so that kinds may import models.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django import db
from django.apps import apps

from haulier.kinds import JobContext


def _set_up() -> None:
    """Set Django up. Its LOGGING may take the root logger and disable others, but Haulier's lines keep their way."""
    root, ours = logging.getLogger(), logging.getLogger("haulier")
    handlers, level = root.handlers[:], root.level
    django.setup()
    if handlers and root.handlers != handlers:
        ours.handlers[:], ours.propagate = handlers, False
        ours.setLevel(level)
    for name in logging.Logger.manager.loggerDict:
        if name.startswith("haulier."):
            logging.getLogger(name).disabled = False


# Not `ready`, which is set after the apps have run theirs: one of them may have imported this.
if not apps.models_ready:
    _set_up()


@contextmanager
def connections(context: JobContext) -> Iterator[None]:
    """Give a run connections that work, and close those that Django would close after a request."""
    db.reset_queries()
    for connection in _idle():
        # Django itself looks only with CONN_HEALTH_CHECKS, and else fails the first query after a restart of Postgres.
        if connection.connection is not None and not connection.is_usable():
            connection.close()
    try:
        yield
    finally:
        _idle()


def _idle() -> list[Any]:
    """Close what is too old or broken, and return the connections of this thread; no TestCase's, whose are atomic."""
    opened = [each for each in db.connections.all(initialized_only=True) if not each.in_atomic_block]
    for connection in opened:
        connection.close_if_unusable_or_obsolete()
    return opened
