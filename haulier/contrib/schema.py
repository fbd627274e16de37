"""Haulier's schema in the database of a team's own tests."""

from __future__ import annotations

from contextlib import closing

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate

RETENTION_DAYS = 30


def create_at(url: str) -> None:
    """Bring the schema in this database up to this version, as `haulier migrate` does.

    Raises:
        SchemaMismatch: The schema is too new, or another development build made it.
        DatabaseUnavailable: The database cannot be reached.
    """
    with closing(connect(url)) as conn:
        migrate(conn, retention_days=RETENTION_DAYS)
