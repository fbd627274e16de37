"""A server from which and to which cells can be moved, and two databases in it: replication need not leave a server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from haulier.cells.move.prepare import prepare
from haulier.cells.move.progress import progress
from haulier.cells.move.sides import Move, move_of
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from lab.move.stage import LogicalServer, forget
from tests.conftest import Sql, eventually, sql_on


@dataclass(frozen=True)
class Cells:
    """Two databases: the source has the schema, the target is empty. Each `sql` is a function for statements."""

    server: str
    source: str
    target: str

    @contextmanager
    def move(self) -> Iterator[Move]:
        with move_of(self.source, self.target) as move:
            yield move

    def prepare(self) -> None:
        """Prepare the move, and return once all tables follow."""
        with self.move() as move:
            assert prepare(move, self.source) == []
            eventually(lambda: progress(move)["stage"] == "ready")

    def stage(self) -> str:
        with self.move() as move:
            return str(progress(move)["stage"])


@contextmanager
def on(url: str) -> Iterator[Sql]:
    """Give a function that runs statements in a new session, as programs have it."""
    with closing(connect(url, application_name="haulier test")) as conn:
        yield sql_on(conn)


@pytest.fixture(scope="module")
def logical_server() -> Iterator[LogicalServer]:
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-move-"))
    folder.chmod(0o755)
    try:
        with LogicalServer(folder / "pg", test=True) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_database(logical_server: LogicalServer) -> Iterator[Callable[[], str]]:
    with ExitStack() as made:

        def make() -> str:
            name = f"cell_{uuid4().hex[:8]}"
            with on(logical_server.dsn) as sql:
                sql(f"CREATE DATABASE {name}")
            url = logical_server.dsn.replace("/postgres?", f"/{name}?")
            made.callback(forget, logical_server.dsn, url, name)
            return url

        yield make


@pytest.fixture
def cells(logical_server: LogicalServer, make_database: Callable[[], str]) -> Cells:
    source, target = make_database(), make_database()
    with closing(connect(source)) as conn:
        migrate(conn, retention_days=30)
    return Cells(logical_server.dsn, source, target)
