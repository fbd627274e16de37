"""`python -m haulier migrate`: the schema, as this version has it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from haulier.cli.database import connected

if TYPE_CHECKING:
    from haulier.config import Config
    from haulier.postgres.statements import Connection


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser(
        "migrate", help="bring the schema up to this version and make the history's partitions; safe to repeat"
    )
    parser.add_argument("--plan", action="store_true", help="only say what it would do, and what it would lock")
    parser.set_defaults(start=_start)


def _start(args: argparse.Namespace) -> None:
    connected(_migrate, args)


def _migrate(conn: Connection, args: argparse.Namespace, config: Config) -> None:
    from haulier.queue.upkeep.migrate import migrate
    from haulier.queue.upkeep.plan import plan

    act = plan if args.plan else migrate
    print(act(conn, retention_days=config.retention_days))
    _warn_of_limits(conn, config)


def _warn_of_limits(conn: Connection, config: Config) -> None:
    from haulier.postgres.limits import too_many

    # Past a pool the limits would be those of the pool's own connections.
    if config.database_direct_url is not None:
        return
    # Not beside those that are open: the release that runs while this one is prepared is to go.
    if excess := too_many(conn, config.connections, beside_others=False):
        remedy = "lower WEB_CONCURRENCY, WEB_THREADS or WORKER_PROCESSES"
        print(f"haulier: one web and one worker: {excess}: {remedy}", file=sys.stderr)
