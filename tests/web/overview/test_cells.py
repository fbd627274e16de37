"""The page of all cells: it ..."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from haulier.domain.api_key import Scope
from tests.cells.stub import Stub, stub
from tests.web.browsing import Browser, MakeSite, SignedIn

KEY = "0123456789abcdef" * 4
PAGE = "/ui/cells"
STATS = {"due": 1234, "oldest_due_seconds": 90.0, "totals": {"failed": 56}, "counted_at": "2026-12-01T02:00:00Z"}


def answer(times: int) -> bytes:
    """Return what a healthy cell says: to every first request its health, to every second one its numbers."""
    body: Any = {"status": "ok", "version": "1.2.3"} if times % 2 else STATS
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cells.toml"


def write(file: Path, *servers: str, more: str = "") -> None:
    cells = [f'[[cell]]\nnumber = {number}\nservers = ["{server}"]\n' for number, server in enumerate(servers, 1)]
    file.write_text("default = 1\n" + "".join(cells) + more)


@pytest.fixture
def of_cells(make_site: MakeSite, signed_in: SignedIn, file: Path) -> Browser:
    """Give the browser of an operator, whose dashboard shows the cells of the file."""
    return signed_in(Scope.OPERATE, app=make_site(cells_file=str(file), haulier_api_key=KEY))


def test_shows_health_and_numbers_and_no_number_that_it_does_not_know(of_cells: Browser, file: Path) -> None:
    with stub(answer) as server:
        write(file, server.address, "127.0.0.1:9", more='dashboard = "https://cell-2.example.com"\n')

        page = of_cells.page(PAGE)

    known, unknown = page.rows()["1"], page.rows()["2"]
    assert [text for name, text in known.cells().items() if name != "counted"] == [
        "1,234",
        "1 min 30 s",
        "56",
        "1.2.3",
        "none",
    ]
    assert [known.all("td")[0].text, unknown.all("td")[0].text] == ["OK", "Unreachable"]
    assert set(list(unknown.cells().values())[:5]) == {"–"}
    assert unknown.cells()["problems"] == "127.0.0.1:9 does not answer: Connection refused."
    assert unknown.links("Cell 2") == ["https://cell-2.example.com"]


def test_asks_each_cell_at_most_once_in_some_seconds(of_cells: Browser, signed_in: SignedIn, file: Path) -> None:
    def asked(server: Stub) -> int:
        return len(server.requests)

    with stub(answer) as server:
        write(file, server.address)
        for _ in range(3):
            of_cells.page(PAGE)
        once = asked(server)
        of_cells.forget()
        of_cells.page(PAGE)

        assert (once, asked(server)) == (2, 4)


def test_is_there_only_for_those_who_may_see_every_queue(
    of_cells: Browser, make_site: MakeSite, signed_in: SignedIn, file: Path
) -> None:
    write(file, "127.0.0.1:9")
    app = of_cells.client.application
    without = signed_in(Scope.ADMIN, app=make_site(cells_file=None))
    limited, reader = signed_in(Scope.ADMIN, app=app, queues=["mail"]), signed_in(Scope.READ, app=app)

    assert of_cells.page("/ui/help").links("Cells")
    for browser in (without, limited, reader):
        assert browser.get(PAGE).status_code == 403
        assert browser.page("/ui/help").links("Cells") == []


def test_says_what_is_wrong_with_the_file_and_reads_it_again(of_cells: Browser, file: Path) -> None:
    file.write_text("default = 1\n")
    faulty = of_cells.page(PAGE).one("main").text
    write(file, "127.0.0.1:9")
    of_cells.forget()

    assert "CELLS_FILE: " in faulty
    assert "cell: must be one table [[cell]] or more" in faulty
    assert set(of_cells.page(PAGE).rows()) == {"1"}
