"""What both servers and roles need for a move; a refusal names what to change."""

from __future__ import annotations

from haulier.cells.move.sides import REACH_SECONDS, Move, MoveRefused, Side
from haulier.domain.errors import SchemaMismatch, reason
from haulier.postgres.errors import PostgresError, sqlstate
from haulier.postgres.statements import rows, transaction
from haulier.queue.upkeep.migrate import check_schema, stored_version
from haulier.queue.upkeep.steps import SCHEMA

# Leases, schedules and pauses go by the database's clock.
CLOCK_SECONDS = 2.0


class _NothingIsKept(Exception):
    """Ends a transaction that was only tried."""


def check_move(move: Move, address: str) -> None:
    """Return if everything is there that a move needs. Raises: MoveRefused, which names all that is missing."""
    source, target = move.both()
    check_schema(source.conn)
    if (version := stored_version(source.conn)) != SCHEMA.version:
        # It would make an older schema on the target than it works with here.
        raise SchemaMismatch(
            f"the database of DATABASE_URL has schema version {version}, but this program makes version"
            f" {SCHEMA.version}: run this with the newer release"
        )
    _refuse([*_problems(move), *_clocks(source, target)])
    _check_contents(move)
    _check_reach(target, address)


def check_before_switch(move: Move) -> None:
    """Return if the source may close now. Raises: MoveRefused; SchemaMismatch."""
    source, target = move.both()
    target.reload()
    if not target.is_closed:
        raise MoveRefused(
            "the target was opened by hand, and may have been written to: close it, by ALTER DATABASE"
            f" {target.name}, with default_transaction_read_only = on, then abort and prepare"
        )
    cell = check_schema(source.conn)
    try:
        check_schema(target.conn, cell=cell)
    except SchemaMismatch as error:
        raise SchemaMismatch(f"TARGET_DATABASE_URL: {error}") from error
    operations = [
        f"the operation {found['id']} cannot continue on another server: wait until it ends, or cancel it"
        for found in rows(source.conn, "unfinished_operations")
    ]
    _refuse([*_problems(move), *operations, *_missing_rights(source, target)])


def _refuse(problems: list[str]) -> None:
    if problems:
        raise MoveRefused("; ".join(problems))


def _problems(move: Move) -> list[str]:
    source, target = move.both()
    found = {
        source: rows(source.conn, "problems_of_source", is_begun=move.is_published),
        target: rows(target.conn, "problems_of_target", is_begun=move.link in target.subscriptions),
    }
    return [
        f"the database of {side.setting} is not ready: {row['problem']}"
        for side, problems in found.items()
        for row in [*problems, *rows(side.conn, "problems_of_side")]
    ]


def _clocks(source: Side, target: Side) -> list[str]:
    here, there = (rows(side.conn, "clock_of_side")[0]["clock"] for side in (source, target))
    apart = abs(here - there)
    return [f"the clocks of the servers differ by {apart:.0f} s: synchronise them"] if apart > CLOCK_SECONDS else []


def _check_contents(move: Move) -> None:
    """Return if the target may be overwritten. Raises: MoveRefused."""
    _, target = move.both()
    if move.link in target.subscriptions:
        if not move.is_published or move.slot() is None:
            raise MoveRefused(
                f"the target is subscribed, but the replication slot {move.link} of the source is gone, or belongs to"
                " another cell: run abort, then prepare"
            )
    elif target.has_schema and (filled := rows(target.conn, "rows_of_target")):
        raise MoveRefused(
            f"the database of TARGET_DATABASE_URL has rows in haulier.{filled[0]['name']}: name an empty database, or"
            " run BEGIN READ WRITE; DROP SCHEMA haulier CASCADE; COMMIT there"
        )


def _check_reach(target: Side, address: str) -> None:
    """Return if the target's server reaches the source at this address. Raises: MoveRefused."""
    try:
        with transaction(target.conn, seconds=REACH_SECONDS):
            options = "slot_name = NONE, create_slot = false, enabled = false, copy_data = false"
            target.subscribe("haulier_move_try", address, options)
            raise _NothingIsKept
    except _NothingIsKept:
        return
    except sqlstate.InsufficientPrivilege as error:
        raise MoveRefused(
            f"the role of TARGET_DATABASE_URL may not subscribe ({reason(error)}): grant it pg_create_subscription, or,"
            " before PostgreSQL 16, name a superuser"
        ) from None
    except PostgresError as error:
        raise MoveRefused(
            "the server of TARGET_DATABASE_URL cannot subscribe to the database of DATABASE_URL: if it has another"
            f" address there, set SOURCE_DATABASE_URL ({reason(error)})"
        ) from None


def _missing_rights(source: Side, target: Side) -> list[str]:
    have, lack = (
        {(found["role"], found["what"]) for found in rows(side.conn, "rights_of_side")} for side in (source, target)
    )
    missing = [role for role, _ in have - lack]
    return [
        f"the role {role} lacks {missing.count(role)} rights on the target that it has on the source: apply grants.sql"
        " there, or the same GRANTs"
        for role in sorted(set(missing))
    ]
