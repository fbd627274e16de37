"""The schema: how it is applied, and how a process learns that it fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haulier.domain.errors import Locked, SchemaMismatch
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, rows, script, transaction
from haulier.queue.upkeep.partitions import ensure_partitions

# The version that schema.sql ends with: what this program was written for.
SCHEMA_VERSION = 7
# In a checkout a link to the file of that name at its root, in a wheel the file itself.
SCHEMA_FILE = Path(__file__).parents[2] / "schema.sql"
# A release waits this long for whoever holds the job table; the old version runs on meanwhile.
MIGRATE_SECONDS = 300.0
MIGRATE_LOCK_SECONDS = 30.0

COMMAND = "python -m haulier migrate"


@contextmanager
def _rights() -> Iterator[None]:
    try:
        yield
    except sqlstate.InsufficientPrivilege as error:
        [reason, *_] = str(error).splitlines()
        raise SchemaMismatch(f"the role of DATABASE_URL lacks a right that Haulier needs: {reason}") from error


@_rights()
def migrate(conn: Connection, *, retention_days: int) -> str:
    """Bring the schema up to this program's and make the history's partitions; return what was done, in one line.

    Safe to run again, and by several at once. A newer schema that this program can work with is left as it is.

    Raises: SchemaMismatch when the schema is too new; DatabaseUnavailable.
    """
    before = _version(conn)
    if before is None or before[0] < SCHEMA_VERSION:
        limits = {"seconds": MIGRATE_SECONDS, "lock_seconds": MIGRATE_LOCK_SECONDS}
        with _naming_who_is_in_the_way(conn), transaction(conn, **limits):
            _take_turn(conn, is_present=before is not None)
            # Again, since another may have been quicker.
            before = _version(conn)
            if before is None or before[0] < SCHEMA_VERSION:
                script(conn, SCHEMA_FILE.read_text(encoding="utf-8"), seconds=MIGRATE_SECONDS)
    check_schema(conn)
    made = ensure_partitions(conn, retention_days=retention_days)
    after = _version(conn)
    assert after is not None
    schema = f"schema version {after[0]}"
    did = f"{schema} was up to date" if before and before[0] >= SCHEMA_VERSION else f"applied {schema}"
    return f"{did}; {len(made)} history partitions made"


def _take_turn(conn: Connection, *, is_present: bool) -> None:
    if not is_present:
        rows(conn, "lock_empty_database", seconds=MIGRATE_SECONDS)
    if _is_present(conn):
        rows(conn, "lock_schema", seconds=MIGRATE_SECONDS)


@contextmanager
def _naming_who_is_in_the_way(conn: Connection) -> Iterator[None]:
    """Say whose lock it was that was waited for in vain, where anybody may take it."""
    try:
        yield
    except sqlstate.LockNotAvailable:
        holders = rows(conn, "holder_of_empty_database")
        if _is_present(conn) or not holders:
            raise
        pid = holders[0]["pid"]
        raise Locked(
            f"process {pid} of the database holds the advisory lock by which first migrations take turns, and has for"
            f" {MIGRATE_LOCK_SECONDS:.0f} s: end it with `SELECT pg_terminate_backend({pid})`, and migrate again"
        ) from None


@_rights()
def check_schema(conn: Connection) -> None:
    """Return when this program fits the database. Raises: SchemaMismatch, with the command to run."""
    found = _version(conn)
    if found is None:
        raise SchemaMismatch(f"the database holds no Haulier schema: run `{COMMAND}`")
    version, compatible_from = found
    if version < SCHEMA_VERSION:
        raise SchemaMismatch(
            f"the database has schema version {version}, this program needs {SCHEMA_VERSION}: run `{COMMAND}`"
        )
    if compatible_from > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"the database has schema version {version}, which works with programs from schema version "
            f"{compatible_from} on, and this program has {SCHEMA_VERSION}: deploy a newer release"
        )


def _version(conn: Connection) -> tuple[int, int] | None:
    if not _is_present(conn):
        return None
    versions = rows(conn, "schema_version")
    return (versions[0]["version"], versions[0]["compatible_from"]) if versions else None


def _is_present(conn: Connection) -> bool:
    [found] = rows(conn, "find_schema")
    return bool(found["present"])
