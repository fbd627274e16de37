"""The router, with made-up servers behind it that die at the worst moment: it ..."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from haulier.cells.cells_toml import Cell, Cells
from tests.cells.calling import call
from tests.cells.stub import OK, Stub, stub
from tests.patience import PATIENCE, eventually
from tests.rivals import beside
from tests.web import free_address

pytestmark = pytest.mark.slow

UNSAFE = [(method, body) for method in ("POST", "PATCH", "PUT", "DELETE") for body in (None, b"{}", b"x" * 500_000)]
PREFIX, WAITING = "0193b1a2-7c5e-8d41-9c3b-2f6a8e0d4b", 20


def cell_of(*addresses: str, number: int = 1) -> Cell:
    return Cell(number, addresses)


def of_cells(*cells: Cell) -> Cells:
    return Cells(cells[0].number, cells)


def seen(*stubs: Stub) -> list[str]:
    """Return the methods of all requests that have arrived."""
    return [request.partition(" ")[0] for each in stubs for request in each.requests]


@pytest.mark.parametrize("dies_at", [1, 2], ids=["on a new connection", "on one that it has kept"])
def test_never_repeats_an_unsafe_call_that_was_sent(route, dies_at):
    def dying(number: int) -> bytes | None:
        return None if number >= dies_at else OK

    for method, body in UNSAFE:
        with ExitStack() as stack:
            stubs = [stack.enter_context(stub(dying)) for _ in range(2)]
            router = stack.enter_context(route(of_cells(cell_of(*(each.address for each in stubs))), workers=1))
            # Until each server keeps a connection, on which it dies at the next request.
            while min(len(each.requests) for each in stubs) < dies_at - 1:
                call(router.address, "GET", "/jobs")
            answer = call(router.address, method, "/jobs/x", body=body)

            assert (answer.status, answer.json["error"]) == (503, "unavailable"), method
            assert [name for name in seen(*stubs) if name != "GET"] == [method], (method, body and len(body))


def test_gives_a_call_that_was_not_sent_to_another_server_of_the_cell(route):
    with stub() as alive, route(of_cells(cell_of(free_address(), alive.address))) as router:
        # From one connection after another, so that the dead server has its turn.
        statuses = {
            method: {call(router.address, method, "/jobs", body=b"{}").status for _ in range(6)}
            for method in ("GET", "POST", "PATCH")
        }

    assert statuses == {"GET": {200}, "POST": {200}, "PATCH": {200}}


def test_repeats_a_get_at_another_server_of_the_cell(route):
    with stub(lambda _: None) as dying, stub() as alive:
        cells = of_cells(cell_of(dying.address, alive.address))
        with route(cells, workers=1) as router:
            statuses = [call(router.address, "GET", "/jobs").status for _ in range(4)]

    assert statuses == [200] * 4
    assert len(dying.requests) > 0


def test_serves_the_others_while_a_cell_hangs(route):
    released = threading.Event()

    def hang(_: int) -> None:
        released.wait(PATIENCE)

    with stub(hang) as hung, stub() as alive:
        cells = of_cells(cell_of(alive.address), cell_of(hung.address, number=2))
        with route(cells) as router:
            waiting = [lambda: call(router.address, "POST", f"/jobs/{PREFIX}02/cancel")] * WAITING
            with beside(*waiting) as ended:
                eventually(lambda: len(hung.requests) == WAITING)
                statuses = {call(router.address, "POST", f"/jobs/{PREFIX}01/cancel").status for _ in range(50)}
                still = list(ended)
                released.set()

    assert statuses == {200}
    assert still == [None] * WAITING
    assert {answer.status for answer in ended} == {503}


def test_hands_on_the_address_of_the_client_and_the_request_as_it_was(route):
    with stub() as server, route(of_cells(cell_of(server.address))) as router:
        call(router.address, "GET", "/jobs/a%2Fb?payload.x=%26&tag=a+b", {"Host": "Jobs.Example.com:8443"})
        call(router.address, "GET", "/jobs", {"X-Forwarded-For": "192.0.2.7", "X-Request-Id": "mine"})

    plain, forwarded = server.requests
    assert plain.startswith("GET /jobs/a%2Fb?payload.x=%26&tag=a+b HTTP/1.1\r\n")
    assert "\r\nHost: Jobs.Example.com:8443\r\n" in plain
    assert "\r\nX-Forwarded-For: 127.0.0.1\r\n" in plain
    assert "\r\nX-Forwarded-Proto: http\r\n" in plain
    # Whoever sent it may have made up all but the last.
    assert "\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n" in forwarded
    assert "\r\nX-Request-Id: mine\r\n" in forwarded
