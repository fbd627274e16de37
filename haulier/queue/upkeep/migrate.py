"""The schema: how it is applied, what applying it would do, and how a process checks that it fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from haulier.domain.errors import Locked, SchemaMismatch
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, rows, script, transaction
from haulier.queue.upkeep.partitions import DAYS_AHEAD, ensure_partitions, step
from haulier.queue.upkeep.steps import SCHEMA, Schema, Step

# How long a step may take; programs of the old version run on meanwhile.
MIGRATE_SECONDS = 300.0
# How long it waits for another process that migrates. For a table's lock each step sets a shorter time by itself, since
# all other statements on the table queue up behind it.
MIGRATE_LOCK_SECONDS = 30.0

COMMAND = "python -m haulier migrate"
ANEW = (
    f"It cannot be migrated: drop it with `DROP SCHEMA haulier CASCADE`, which deletes all jobs, then run `{COMMAND}`"
)


@contextmanager
def naming_rights() -> Iterator[None]:
    """Turn the refusal of a right into SchemaMismatch, which says whose right it is."""
    try:
        yield
    except sqlstate.InsufficientPrivilege as error:
        [reason, *_] = str(error).splitlines()
        raise SchemaMismatch(f"the role of DATABASE_URL lacks a right that Haulier needs: {reason}") from error


@naming_rights()
def migrate(conn: Connection, *, retention_days: int, cell: int | None = None, schema: Schema = SCHEMA) -> str:
    """Bring the schema up to this program's, make the history's partitions, and return what was done, in one line.

    Safe to run again, and by several processes at once. Each step is its own transaction, and what has been done
    stays done. A newer schema that this program can work with is left as it is.

    Args:
        cell: The number that a database without one gets and keeps. Its new ids end with it.

    Raises:
        SchemaMismatch: The schema is too new, another development build made it, the encoding is not UTF8, or the
            database is another cell.
        Locked: Another process holds a lock.
        DatabaseUnavailable: The database cannot be reached.
    """
    _check_cell(_stored(conn), cell)
    taken: list[Step] = []
    # In a loop: an older program may meanwhile have built its own version in the empty database.
    while steps := schema.steps_from(stored_version(conn)):
        taken += [step for step in steps if _take(conn, step, schema)]
    if check_schema(conn, schema) is None and cell:
        _set_cell(conn, cell, schema)
    number = check_schema(conn, schema, cell=cell)
    made = ensure_partitions(conn, retention_days=retention_days)
    version = f"schema version {stored_version(conn)}" + (f" of cell {number}" if number else "")
    did = f"applied {version}" if taken else f"{version} is up to date"
    return f"{did}; {len(made)} history partitions made"


def _take(conn: Connection, step: Step, schema: Schema) -> bool:
    """Run the step unless another process was quicker, and return whether it ran.

    If a version has several steps, another process may repeat an earlier one, but never after the last, which
    validates what is not yet validated and sets the version.
    """
    limits = {"seconds": MIGRATE_SECONDS, "lock_seconds": MIGRATE_LOCK_SECONDS}
    with _naming_who_is_in_the_way(conn, step), transaction(conn, **limits):
        _take_turn(conn)
        is_due = step in schema.steps_from(stored_version(conn))
        if is_due:
            _check_moves(conn)
            script(conn, step.text, seconds=MIGRATE_SECONDS)
            rows(conn, "set_fingerprint", schema_version=schema.version, fingerprint=schema.fingerprint)
    return is_due


def _set_cell(conn: Connection, cell: int, schema: Schema) -> None:
    try:
        with transaction(conn, seconds=MIGRATE_SECONDS, lock_seconds=MIGRATE_LOCK_SECONDS):
            rows(conn, "lock_schema", seconds=MIGRATE_SECONDS)
            # Whoever had the lock before may have set it.
            if check_schema(conn, schema) is None:
                _check_moves(conn)
                rows(conn, "set_cell", cell=cell)
    except sqlstate.LockNotAvailable:
        raise Locked(
            f"the database has no number yet, since another process migrates or adds a partition: run `{COMMAND}` again"
        ) from None


def _check_moves(conn: Connection) -> None:
    """Return unless the cell is being moved, which copies the tables as they are. Raises: SchemaMismatch."""
    if rows(conn, "find_move"):
        raise SchemaMismatch(
            "the cell is being moved to another server, which copies no changes of the schema: run `haulier cell move"
            " switch` or `haulier cell move abort` first"
        )


def _take_turn(conn: Connection) -> None:
    if not _is_present(conn):
        rows(conn, "lock_empty_database", seconds=MIGRATE_SECONDS)
    if _is_present(conn):
        rows(conn, "lock_schema", seconds=MIGRATE_SECONDS)


@contextmanager
def _naming_who_is_in_the_way(conn: Connection, step: Step) -> Iterator[None]:
    """Name, in the error, the process whose lock the step has waited for in vain."""
    try:
        yield
    except sqlstate.LockNotAvailable:
        if not _is_present(conn):
            raise Locked(_holder_of_empty_database(conn)) from None
        users = rows(conn, "oldest_user_of_tables", names=[*step.tables, "schema_version"])
        by = (
            f"server process {users[0]['pid']} has used {_tables(step)} longest"
            if users
            else ("the process that held it has ended")
        )
        raise Locked(
            f"{step.name} did not get a lock in time: {by}. The steps before it are done. Run `{COMMAND}` again"
        ) from None


def _tables(step: Step) -> str:
    return " or ".join(f"haulier.{table}" for table in step.tables) or "haulier.schema_version"


def _holder_of_empty_database(conn: Connection) -> str | None:
    for holder in rows(conn, "holder_of_empty_database"):
        pid = holder["pid"]
        return (
            f"server process {pid} has held the advisory lock for first migrations for {MIGRATE_LOCK_SECONDS:.0f}"
            f" s: end it with `SELECT pg_terminate_backend({pid})`, then migrate again"
        )
    return None


class _Stored(NamedTuple):
    """What the database says of its schema."""

    version: int
    compatible_from: int
    is_known: bool
    fingerprint: str | None
    cell: int | None

    def is_of_another_build(self, schema: Schema) -> bool:
        """Return whether `migrate` has built this version from other statements: it changes until it is released."""
        is_comparable = self.fingerprint is not None and self.fingerprint.startswith(f"{schema.version} ")
        return self.version == schema.version and is_comparable and self.fingerprint != schema.fingerprint


@naming_rights()
def check_schema(conn: Connection, schema: Schema = SCHEMA, *, cell: int | None = None) -> int | None:
    """Return the cell of the database if this program fits it; None if the database has no number.

    `cell` is the setting of this process. Raises: SchemaMismatch, with what to do.
    """
    stored = _stored(conn)
    if stored is None:
        raise SchemaMismatch(f"the database has no Haulier schema: run `{COMMAND}`")
    if stored.version < schema.version:
        raise SchemaMismatch(
            f"the database has schema version {stored.version}, but this program needs {schema.version}: run"
            f" `{COMMAND}`"
        )
    if stored.compatible_from > schema.version:
        raise SchemaMismatch(
            f"the database has schema version {stored.version}, which needs a program of schema version"
            f" {stored.compatible_from} or newer; this program has {schema.version}: deploy a newer release"
        )
    if stored.is_of_another_build(schema):
        raise SchemaMismatch(
            f"the schema of the database was made by another development build and has changed since. {ANEW}"
        )
    if cell and not stored.cell:
        raise SchemaMismatch(f"CELL={cell}, but the database has no number yet: run `{COMMAND}` with CELL={cell}")
    _check_cell(stored, cell)
    return stored.cell


def _check_cell(stored: _Stored | None, cell: int | None) -> None:
    """Return unless the database is another cell, which it stays."""
    if stored and stored.cell and cell not in (None, stored.cell):
        raise SchemaMismatch(
            f"CELL={cell}, but the database is cell {stored.cell}, with which its ids end: correct CELL or DATABASE_URL"
        )


def stored_version(conn: Connection) -> int | None:
    """Return the version of the schema in the database; None if there is none, or only a part of it.

    Raises:
        SchemaMismatch: A development build from before version 1 made it.
    """
    stored = _stored(conn)
    return stored.version if stored else None


def _stored(conn: Connection) -> _Stored | None:
    if not _is_present(conn):
        return None
    for row in rows(conn, "schema_version"):
        stored = _Stored(**row)
        if not stored.is_known:
            raise SchemaMismatch(f"the schema of the database was made by a development build before version 1. {ANEW}")
        return stored
    return None


def _is_present(conn: Connection) -> bool:
    [found] = rows(conn, "find_schema")
    # In another one some text cannot be stored, or what is stored cannot be read.
    if found["encoding"] != "UTF8":
        raise SchemaMismatch(
            f"the database has the encoding {found['encoding']}, but Haulier needs UTF8: create one with CREATE"
            " DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    return bool(found["present"])


def plan(conn: Connection, *, retention_days: int, cell: int | None = None, schema: Schema = SCHEMA) -> str:
    """Return, line by line, what `migrate` would do now; nothing is changed, and nobody has to wait.

    Raises:
        SchemaMismatch: `migrate` would refuse this schema.
    """
    _check_cell(stored := _stored(conn), cell)
    version = stored.version if stored else None
    steps = schema.steps_from(version)
    if not steps:
        check_schema(conn, schema)
    partitions = _partitions(conn, retention_days)
    lines = [
        f"found schema version {version}; this program has {schema.version}" if version else "found no Haulier schema",
        *(line for step in steps for line in _described(step)),
        *([f"would make this database cell {cell}"] if cell and not (stored and stored.cell) else []),
        *(f"would make the history partition {name}" for name in partitions),
    ]
    return "\n".join(lines if len(lines) > 1 else [*lines, "nothing to do"])


def _described(step: Step) -> Iterator[str]:
    yield f"would run {step.name}: {step.does}"
    for table, how in step.locks.items():
        yield f"    locks {table}: {how}"
    if not step.locks:
        yield "    locks no existing table"


def _partitions(conn: Connection, retention_days: int) -> list[str]:
    found = rows(conn, "partitions_to_make", step=step(retention_days), days_ahead=DAYS_AHEAD)
    return [str(row["name"]) for row in found]
