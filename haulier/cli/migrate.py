"""`python -m haulier migrate`: the schema, as this version has it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import click

from haulier.cli.connect import connected
from haulier.cli.server import server_command

if TYPE_CHECKING:
    from haulier.config import Config
    from haulier.postgres.statements import Connection


@server_command("migrate", example="haulier migrate --plan")
@click.option("--plan", is_flag=True, help="Only print what it would do and which tables it would lock.")
def migrate(plan: bool) -> None:
    """Migrate the database schema to this version; safe to repeat.

    It also creates the history partitions.
    """
    connected("migrate", _plan if plan else _migrate)


def _plan(conn: Connection, config: Config) -> None:
    from haulier.queue.upkeep.migrate import plan

    print(plan(conn, retention_days=config.retention_days, cell=config.cell))
    _warn_of_limits(conn, config)


def _migrate(conn: Connection, config: Config) -> None:
    from haulier.queue.upkeep.migrate import migrate

    print(migrate(conn, retention_days=config.retention_days, cell=config.cell))
    correct_times(conn, sys.stdout)
    _warn_of_limits(conn, config)


def correct_times(conn: Connection, stream: TextIO) -> None:
    """Correct when schedules are due next, by the tzdata of this release, and say there which were wrong."""
    from haulier.queue.schedules.recompute import recompute

    done = recompute(conn)
    if done.corrected:
        print(f"schedules whose next tick moved because of new time zone data: {len(done.corrected)}", file=stream)
    for name, why in done.failed.items():
        print(f"haulier: the schedule {name} does not fire: {why}", file=sys.stderr)


def _warn_of_limits(conn: Connection, config: Config) -> None:
    from haulier.postgres.limits import too_many

    # Past a pool the limits would be those of the pool's own connections.
    if config.database_direct_url is not None:
        return
    # Not beside those that are open: the release that runs while this one is prepared is to go.
    if excess := too_many(conn, config.connections, beside_others=False):
        remedy = "lower WEB_CONCURRENCY, WEB_THREADS or WORKER_PROCESSES"
        print(f"haulier: with one web and one worker process, {excess}: {remedy}", file=sys.stderr)
