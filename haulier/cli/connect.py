"""Commands on the database itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from haulier.config import Config

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection


def on_database(name: str, act: Callable[[Connection], None]) -> None:
    """Call this with a connection past any pool, to a database whose schema fits. Raises: HaulierError."""
    from haulier.queue.upkeep.migrate import check_schema

    def checked(conn: Connection, config: Config) -> None:
        check_schema(conn, cell=config.cell)
        act(conn)

    connected(name, checked)


def connected(name: str, act: Callable[[Connection, Config], None]) -> None:
    """Call this with a connection past any pool, as the command of this name. Raises: HaulierError."""
    from haulier.postgres.connection import connect, parse
    from haulier.postgres.errors import translated

    config = Config.from_env()
    parse(config.direct_url, config.direct_setting)
    conn = connect(config.direct_url, application_name=f"haulier {name}")
    try:
        with translated():
            act(conn, config)
    finally:
        conn.close()
