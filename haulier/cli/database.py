"""Commands on the database itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from haulier.config import Config

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection


def on_database(act: Callable[[Connection, argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """Return what calls this with a connection past any pool, to a database whose schema fits."""

    def start(args: argparse.Namespace) -> None:
        from haulier.queue.upkeep.migrate import check_schema

        def checked(conn: Connection, args: argparse.Namespace, config: Config) -> None:
            check_schema(conn)
            act(conn, args)

        connected(checked, args)

    return start


def connected(act: Callable[[Connection, argparse.Namespace, Config], None], args: argparse.Namespace) -> None:
    """Call this with a connection past any pool. Raises: HaulierError."""
    from haulier.postgres.connection import connect, parse
    from haulier.postgres.errors import translated

    config = Config.from_env()
    parse(config.direct_url, config.direct_setting)
    conn = connect(config.direct_url, application_name=f"haulier {args.command}")
    try:
        with translated():
            act(conn, args, config)
    finally:
        conn.close()
