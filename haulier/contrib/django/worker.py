"""Django in a worker: HAULIER_MIDDLEWARE=haulier.contrib.django.worker:connections.

Importing it sets Django up, so that kinds may import models.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
    """Give a run connections that work, and close those that Django would close after a request.

    Raises: RuntimeError: the handler has returned inside a transaction, which is rolled back.
    """
    db.reset_queries()
    for connection in _idle():
        # Django itself looks only with CONN_HEALTH_CHECKS, and else fails the first query after a restart of Postgres.
        if connection.connection is not None and not connection.is_usable():
            connection.close()
    # A TestCase has opened blocks before the run.
    depths = {each.alias: len(each.atomic_blocks) for each in db.connections.all(initialized_only=True)}
    try:
        yield
    finally:
        left_open = _roll_back(depths)
        _idle()
    # Not if the handler has raised: its own error says more.
    if left_open:
        raise RuntimeError(f"the handler left a transaction open on database {', '.join(left_open)}")


def _idle() -> list[Any]:
    """Close what is too old or broken, and return the connections of this thread; no TestCase's, whose are atomic."""
    opened = [each for each in db.connections.all(initialized_only=True) if not each.in_atomic_block]
    for connection in opened:
        connection.close_if_unusable_or_obsolete()
    return opened


def _roll_back(depths: Mapping[str, int]) -> list[str]:
    """Roll back what the run has left open on this thread's connections, and return their aliases."""
    left_open = []
    for connection in db.connections.all(initialized_only=True):
        blocks = connection.atomic_blocks[depths.get(connection.alias, 0) :]
        for block in reversed(blocks):
            with suppress(db.Error):
                block.__exit__(RuntimeError, RuntimeError(), None)
            # Who still has the block may leave it during a later run, and would roll back what that run has written.
            block.using = "left by an earlier job"
        is_atomic = connection.in_atomic_block
        if blocks or (not is_atomic and _is_in_transaction(connection)):
            left_open.append(connection.alias)
            if not is_atomic:
                connection.close()
    return left_open


def _is_in_transaction(connection: Any) -> bool:
    """Return whether a transaction was begun without `atomic`, by SQL or `set_autocommit`, on Postgres or SQLite."""
    raw = connection.connection
    if raw is None or not connection.settings_dict["AUTOCOMMIT"]:
        return False
    if connection.vendor == "postgresql":
        return bool(raw.info.transaction_status)
    return bool(getattr(raw, "in_transaction", False))
