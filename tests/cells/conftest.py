"""For tests of cells: three real ones, and the router in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from haulier.cells.cells_toml import Cells
from haulier.cells.nginx import configuration
from lab.cells import LiveCell, file_of, make_cell
from lab.nginx import Nginx, nginx
from tests.web import free_address, gunicorn

Route = Callable[..., AbstractContextManager[Nginx]]


@pytest.fixture(scope="session")
def cells(_make_migrated_database: Callable[[], str], eventually: Callable[..., Any]) -> Iterator[list[LiveCell]]:
    """Give three cells, whose numbers are 1, 2 and 255."""
    with ExitStack() as stack:
        made = []
        for number in (1, 2, 255):
            dsn = _make_migrated_database()
            key, token = make_cell(dsn, number)
            server = stack.enter_context(gunicorn(dsn, eventually, WEB_CONCURRENCY="1"))
            made.append(LiveCell(number, dsn, server.url.removeprefix("http://"), key, token))
        yield made


@pytest.fixture
def route(tmp_path: Path) -> Route:
    """Give a context manager that runs the router of these cells."""
    return lambda cells, **options: nginx(tmp_path, configuration(cells), free_address(), **options)


@pytest.fixture
def router(cells: list[LiveCell], route: Callable[[Cells], AbstractContextManager[Nginx]]) -> Iterator[Nginx]:
    with route(file_of(*cells)) as running:
        yield running
