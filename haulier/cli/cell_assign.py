"""`haulier cell assign`: another cell takes the new jobs of a tenant."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import click

from haulier.cli.connect import connected
from haulier.cli.server import server_command
from haulier.domain.api_key import KEY_ID_PATTERN
from haulier.domain.errors import ConfigError, DatabaseUnavailable, reason

if TYPE_CHECKING:
    from haulier.cells.assign import Side
    from haulier.config import Config
    from haulier.postgres.statements import Connection


def _id_of_key(_: click.Context, __: click.Parameter, given: str) -> str:
    # A whole key would be a secret: it is not quoted.
    if not re.fullmatch(KEY_ID_PATTERN, given):
        raise click.BadParameter("must be the id of an API key, the part between hlr_ and the next _")
    return given


@server_command("assign", example="haulier cell assign k3xq0v9a2b7c")
@click.argument("key_id", metavar="KEY", callback=_id_of_key)
def assign(key_id: str) -> None:
    """Have the cell of TARGET_DATABASE_URL take the new jobs of an API key.

    DATABASE_URL is the cell that takes them now, which finishes the jobs that it has and keeps the history. To go back,
    exchange the two. It is safe to repeat, and to continue after an interruption.
    """
    connected("cell assign", lambda conn, config: _assign(conn, config, key_id))


def _assign(conn: Connection, config: Config, key_id: str) -> None:
    from haulier.cells.assign import side_of
    from haulier.postgres.connection import connect, parse

    url = config.target_database_url
    if url is None:
        raise ConfigError("TARGET_DATABASE_URL is not set: set it to the database of the cell that is to take the key")
    parse(url, "TARGET_DATABASE_URL")
    giving = side_of(conn, config.direct_setting, expected=config.cell)
    try:
        target = connect(url, application_name="haulier cell assign")
    except DatabaseUnavailable as error:
        raise ConfigError(f"TARGET_DATABASE_URL: {reason(error)}") from error
    with closing(target):
        _say(giving, side_of(target, "TARGET_DATABASE_URL"), key_id)


def _say(giving: Side, taking: Side, key_id: str) -> None:
    from haulier.cells.assign import assign

    for done in assign(giving, taking, key_id):
        print(done, flush=True)
    print(
        f'Now name "{key_id}" in cells.toml in the keys of cell {taking.cell}, and not in those of cell {giving.cell};'
        " run `haulier cells nginx`, and reload nginx. Until then its new jobs get 503 with Retry-After. Its rate limit"
        " starts from the beginning."
    )
