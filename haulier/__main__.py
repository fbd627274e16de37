"""The command `haulier`, or `python -m haulier`: `migrate`, `web`, `worker`, and `keys` and `audit` for operators."""

from __future__ import annotations

import argparse
import sys

from haulier.cli import audit, keys, web, worker
from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.postgres.connection import connect, parse
from haulier.postgres.errors import translated
from haulier.postgres.limits import too_many
from haulier.postgres.statements import Connection
from haulier.queue.upkeep.migrate import check_schema, migrate
from haulier.queue.upkeep.plan import plan


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="haulier", description="Haulier's commands.")
    commands = parser.add_subparsers(dest="command", required=True)
    migrating = commands.add_parser(
        "migrate", help="bring the schema up to this version and make the history's partitions; safe to repeat"
    )
    migrating.add_argument("--plan", action="store_true", help="only say what it would do, and what it would lock")
    for each in (web, worker, keys, audit):
        each.add_to(commands)
    args = parser.parse_args()
    if "start" in args:
        args.start()
    try:
        config = Config.from_env()
        parse(config.direct_url, config.direct_setting)
        conn = connect(config.direct_url, application_name=f"haulier {args.command}")
        try:
            with translated():
                _run(conn, args, config)
        finally:
            conn.close()
    except HaulierError as error:
        print(f"haulier: {error}", file=sys.stderr)
        return 1
    return 0


def _run(conn: Connection, args: argparse.Namespace, config: Config) -> None:
    if args.command == "migrate":
        act = plan if args.plan else migrate
        print(act(conn, retention_days=config.retention_days))
        _warn_of_limits(conn, config)
        return
    check_schema(conn)
    args.act(conn, args)


def _warn_of_limits(conn: Connection, config: Config) -> None:
    # Past a pool the limits would be those of the pool's own connections.
    if config.database_direct_url is not None:
        return
    needed = config.web_connections + config.worker_processes * config.worker_connections + 1
    # Not beside those that are open: the release that runs while this one is prepared is to go.
    if excess := too_many(conn, needed, beside_others=False):
        remedy = "lower WEB_CONCURRENCY, WEB_THREADS or WORKER_PROCESSES"
        print(f"haulier: one web and one worker: {excess}: {remedy}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
