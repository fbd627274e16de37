"""SQLAlchemy: sessions that end with the run, by HAULIER_MIDDLEWARE=haulier.contrib.sqlalchemy:sessions; and a table.

Applications that only enqueue import it too, so that it imports nothing else of Haulier.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    Column,
    DateTime,
    Engine,
    FetchedValue,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    event,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, SessionTransactionOrigin

if TYPE_CHECKING:
    from haulier.kinds import JobContext

job = Table(
    "job",
    # Its own, so that neither the team's tests nor Alembic make the table.
    MetaData(schema="haulier"),
    Column("id", UUID, primary_key=True, server_default=FetchedValue()),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False, default=dict),
    Column("queue", Text, default="default"),
    Column("priority", SmallInteger, default=0),
    Column("run_at", DateTime(timezone=True), server_default=FetchedValue()),
    Column("max_attempts", Integer, default=3),
    Column("timeout_seconds", Integer),
    Column("tags", ARRAY(Text)),
)


class _OfThread(threading.local):
    # The sessions that the run on this thread has used; None outside of runs.
    sessions: set[Session] | None = None


_of_thread = _OfThread()


# Begun by a first statement, and not by a block.
_IMPLICIT = SessionTransactionOrigin.AUTOBEGIN


@event.listens_for(Session, "after_transaction_create")
def _note(session: Session, *_: Any) -> None:
    if _of_thread.sessions is not None:
        _of_thread.sessions.add(session)


@contextmanager
def sessions(context: JobContext) -> Iterator[None]:
    """Close, after the run, each session that it has used on its thread, scoped or not: the next run begins afresh.

    Raises: RuntimeError: the handler has returned inside `with session.begin()`, which is rolled back.
    """
    used = _of_thread.sessions = set()
    try:
        yield
    finally:
        _of_thread.sessions = None
        left_open = [session for session in used if _close(session)]
    # Not if the handler has raised: its own error says more.
    if left_open:
        raise RuntimeError("the handler left a transaction open: it returned inside `with session.begin()`")


def _close(session: Session) -> bool:
    """Close a session, and return whether it was inside a block that begins a transaction."""
    left_open = False
    # A connection that has just died has rolled back by itself, and has left the pool.
    with suppress(SQLAlchemyError):
        # A session that is closed inside a block refuses all further work until somebody leaves the block.
        while (
            block := session.get_nested_transaction() or session.get_transaction()
        ) and block.origin is not _IMPLICIT:
            left_open = True
            block.__exit__(RuntimeError, RuntimeError(), None)
    with suppress(SQLAlchemyError):
        session.close()
    return left_open


def create_schema(engine: Engine) -> None:
    """Bring Haulier's schema in this engine's database up to this version, on a separate connection."""
    from haulier.contrib.schema import create_at

    # libpq reads it as well, but for the driver's name.
    create_at(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
