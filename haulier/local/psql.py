"""`make psql`: psql on the database of `make run`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

from haulier.local.embedded import dsn_of, home, own_program
from haulier.local.supervisor import CHECKOUT, NotStarted


def psql(root: Path = CHECKOUT) -> NoReturn:
    """Become psql on DATABASE_URL, or on the embedded PostgreSQL of `make run`. Raises: NotStarted."""
    dsn = os.environ.get("DATABASE_URL") or dsn_of(home(root) / "pg")
    if dsn is None:
        raise NotStarted(
            "no PostgreSQL of `make run` is running: start `make run` in another terminal, or set DATABASE_URL"
        )
    program = client()
    os.execv(program, [program, dsn])


def client() -> str:
    """Return the path of a psql. Raises: NotStarted if this machine has none."""
    # The embedded one cannot edit lines, and so comes second.
    found = shutil.which("psql") or own_program("psql")
    if found is None:
        raise NotStarted("psql is not installed: install the PostgreSQL client, such as the package postgresql-client")
    return str(found)
