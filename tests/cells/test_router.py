"""The router, a real nginx with three real cells behind it: it ..."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from haulier.cells.cells_toml import Cell, Cells, read_cells
from haulier.cells.nginx import configuration
from lab.cells import LiveCell, file_of
from lab.nginx import Nginx, check, write
from lab.router import black_hole
from tests.cells.calling import Answer, call
from tests.cells.conftest import Route
from tests.docs.reading import ROOT, blocks_of
from tests.patience import eventually
from tests.rivals import beside
from tests.web import EMAIL, free_address

pytestmark = pytest.mark.slow

FIRST = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b02"
RANDOM = "0193b1a2-7c5e-4d41-9c3b-2f6a8e0d4b02"
NAMED = ("cells.toml", "own.conf")
# Clients that call while the router is reloaded, and how often it is.
CLIENTS, RELOADS = 4, 5


def id_of(number: int) -> str:
    """Return an id that names the cell of this number."""
    return f"0193b1a2-7c5e-8d41-9c3b-2f6a8e0d4b{number:02x}"


def documented(cell: LiveCell) -> Iterator[tuple[str, str, bool]]:
    """Return method and path of each call of the OpenAPI document, and whether the path names one thing by a UUID."""
    document = call(cell.address, "GET", "/api-docs/openapi.json").json
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        for method in item.keys() & {"get", "post", "put", "patch", "delete"}:
            schemas = [
                each["schema"] for each in (*shared, *item[method].get("parameters", [])) if each["in"] == "path"
            ]
            formats = {_resolved(document, schema).get("format") for schema in schemas}
            yield method.upper(), path, "uuid" in formats


def _resolved(document: Any, schema: Any) -> Any:
    for name in schema.get("$ref", "#").split("/")[1:]:
        document = document[name]
    return document if "$ref" in schema else schema


def test_takes_every_documented_call_to_the_cell_of_its_id_or_else_of_its_key(router, cells):
    default, *_ = cells
    callers = {cell.key.id: (cell, cell.headers) for cell in cells} | {
        "nobody": (default, {}),
        "a key that no cell has": (default, {"Authorization": f"Bearer hlr_{'x' * 12}_{'s' * 43}"}),
        "no key of ours": (default, {"Authorization": "Bearer something-else"}),
    }
    ids = {id_of(cell.number): cell for cell in cells} | {FIRST: default}
    # None of these names a cell of the file.
    others = [id_of(77), RANDOM, "nonsense"]
    calls = list(documented(default))
    wrong = []

    for method, path, has_id in calls:
        for caller, (cell, headers) in callers.items():
            for name in [*ids, *others] if has_id else ["x"]:
                answer = call(router.address, method, re.sub(r"\{\w+\}", name, path), headers)
                expected = ids[name] if has_id and name in ids else cell
                if answer.server != expected.address:
                    wrong.append(f"{method} {path} {name} by {caller}: {answer.server}, not cell {expected.number}")

    assert wrong == []
    assert {path.split("/")[1] for _, path, has_id in calls if has_id} == {"jobs", "operations", "workers"}


def test_finds_each_job_again_by_its_id(router, cells):
    def post(cell: LiveCell) -> str:
        answer = call(router.address, "POST", "/jobs", {"Authorization": f"bearer   {cell.token}"}, EMAIL)
        assert answer.status == 201
        return str(answer.json["id"])

    jobs = {post(cell): cell for cell in cells}

    assert {UUID(job).bytes[-1]: UUID(job).version for job in jobs} == dict.fromkeys((1, 2, 255), 8)
    for job, cell in jobs.items():
        encoded = "".join(f"%{ord(letter):02x}" for letter in job)
        for path in (job, job.upper(), encoded):
            answer = call(router.address, "GET", f"/jobs/{path}", cell.headers)
            assert (answer.status, answer.json["id"]) == (200, job)
        # A key of another cell is unknown in this one.
        strangers = [other for other in cells if other is not cell]
        statuses = {call(router.address, "GET", f"/jobs/{job}", each.headers).status for each in strangers}
        assert statuses == {401}


def test_answers_for_a_dead_cell_as_the_api_does_and_serves_the_others(route, cells):
    dead = Cell(3, (free_address(),), None, ("d" * 12,))
    file = file_of(*cells)
    of_dead = {"Authorization": f"Bearer hlr_{'d' * 12}_{'s' * 43}", "X-Request-Id": "mine/1"}

    with route(Cells(file.default, (*file.cells, dead))) as router:
        calls = [("GET", "/jobs"), ("POST", "/jobs"), ("PUT", "/schedules/x"), ("DELETE", f"/jobs/{id_of(3)}")]
        answers = [call(router.address, method, path, of_dead, {}) for method, path in calls]
        odd = call(router.address, "GET", "/jobs", {**of_dead, "X-Request-Id": 'a"b'})
        others = {
            call(router.address, "POST", "/jobs", cell.headers, EMAIL).status for cell in cells for _ in range(20)
        }

    for answer in answers:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Request-Id"] == "mine/1"
        assert answer.json == {
            "error": "unavailable",
            "message": "the cell of this call does not answer: try again",
            "request_id": "mine/1",
        }
    assert re.fullmatch("[0-9a-f]{32}", odd.json["request_id"])
    assert others == {201}


def test_answers_for_a_cell_whose_machine_is_gone(route, cells):
    with black_hole() as hole:
        gone = Cell(3, (hole,), None, ("d" * 12,))
        file = file_of(*cells)
        headers = {"Authorization": f"Bearer hlr_{'d' * 12}_{'s' * 43}"}
        with route(Cells(file.default, (*file.cells, gone))) as router:
            answers = [call(router.address, method, "/jobs", headers, {}) for method in ("GET", "POST")]

    assert [(answer.status, answer.json["error"]) for answer in answers] == [(503, "unavailable")] * 2


def test_drops_no_call_while_it_is_reloaded(router, cells):
    stopped, failed, jobs = threading.Event(), list[object](), list[str]()

    def post(cell: LiveCell) -> None:
        while not stopped.is_set():
            try:
                answer = call(router.address, "POST", "/jobs", cell.headers, EMAIL)
            except Exception as error:
                failed.append(error)
                continue
            if answer.status == 201:
                jobs.append(answer.json["id"])
            else:
                failed.append(answer)

    file = file_of(*cells)
    with beside(*[lambda cell=cell: post(cell) for cell in (*cells, cells[0])][:CLIENTS]):
        for times in range(RELOADS):
            has = len(jobs)
            more = Cell(100 + times, (free_address(),), None, (f"{times:012}",))
            router.reload(configuration(Cells(file.default, (*file.cells, more))))
            eventually(lambda has=has: len(jobs) > has + 50)
        stopped.set()

    assert failed == []
    assert len(set(jobs)) == len(jobs)


MEGABYTE = 1024 * 1024
JOB = b'{"kind": "send_email", "payload": {}, "tags": []'
LONG = "/jobs?kind=" + "k" * 4000
# Calls at the API's limits, and calls that it refuses.
LIMITS: dict[str, tuple[str, str, dict[str, str], bytes | None]] = {
    "a job of 1 MiB": ("POST", "/jobs", {}, JOB + b" " * (MEGABYTE - len(JOB) - 1) + b"}"),
    "a batch of 16 MiB": ("POST", "/jobs/batch", {}, b" " * (16 * MEGABYTE - 2) + b"[]"),
    "a long line": ("GET", LONG, {}, None),
    "a line that is too long": ("GET", LONG + "k" * 200, {}, None),
    "a long header": ("GET", "/jobs", {"X-Long": "x" * 8000}, None),
    "a header that is too long": ("GET", "/jobs", {"X-Long": "x" * 9000}, None),
    "many headers": ("GET", "/jobs", {f"X-{number}": "x" for number in range(55)}, None),
    "too many headers": ("GET", "/jobs", {f"X-{number}": "x" for number in range(70)}, None),
    "too long a head": ("GET", "/jobs", {f"X-{number}": "x" * 8000 for number in range(9)}, None),
    "no JSON": ("POST", "/jobs", {}, b"{"),
    "an unknown path": ("GET", "/nowhere", {}, None),
    "an empty segment": ("GET", "//jobs", {}, None),
    "an unknown method": ("PURGE", "/jobs", {}, None),
}
# At these the API closes the connection while a client may still send.
TOO_LONG = {("POST", "/jobs"): MEGABYTE, ("PUT", "/schedules/x"): MEGABYTE, ("POST", "/jobs/batch"): 16 * MEGABYTE}


def outcome(answer: Answer) -> tuple[int, str | None]:
    """Return the status, and the API's word for the error."""
    is_json = answer.headers.get("Content-Type") == "application/json"
    return answer.status, answer.json.get("error") if is_json and isinstance(answer.json, dict) else None


def test_has_the_limits_of_the_api_and_lets_its_refusals_through(router, cells):
    cell = cells[1]

    def answers(address: str) -> dict[str, tuple[int, str | None]]:
        found = {}
        for name, (method, path, headers, body) in LIMITS.items():
            sent = {**cell.headers, **headers}
            found[name] = outcome(call(address, method, path, sent, body))
            if body:
                found[f"{name}, in chunks"] = outcome(call(address, method, path, sent, body, chunked=True))
        return found

    direct, routed = answers(cell.address), answers(router.address)
    refused = {
        outcome(call(router.address, method, path, cell.headers, b" " * size, chunked=chunked))
        for (method, path), most in TOO_LONG.items()
        for size in (most + 1, 3 * most)
        for chunked in (False, True)
    }

    assert routed == direct
    assert refused == {(413, "too_large")}
    assert (direct["a batch of 16 MiB"], direct["no JSON"]) == ((422, "validation"), (400, "malformed"))


def test_nginx_accepts_the_configuration_of_many_cells_and_keys(tmp_path: Path):
    cells = tuple(
        Cell(
            number,
            (f"10.0.0.{number}:80", f"[::{number:x}]:80"),
            None,
            tuple(f"{number:06}{key:06}" for key in range(40)),
        )
        for number in range(1, 256)
    )

    write(tmp_path, configuration(Cells(255, cells)), [f"listen {free_address()}"])

    check(tmp_path)


def test_nginx_accepts_the_file_and_the_lines_of_the_docs(tmp_path: Path):
    file, lines = ([block.text for block in blocks_of("docs/cells.md") if block.file == name] for name in NAMED)
    (tmp_path / "cells.toml").write_text(file[0])
    pem = ROOT / "tests" / "kinds" / "tls" / "server.pem"
    own = (
        re.sub(r"/etc/\S+(?=;)", str(pem), lines[0])
        .replace("/var/log/nginx", str(tmp_path))
        .replace("443", free_address())
    )

    write(tmp_path, configuration(read_cells(tmp_path / "cells.toml")), own.replace(";\n", "\n").splitlines())

    check(tmp_path)


def test_a_plain_answer_passes_unchanged(router: Nginx, cells: list[LiveCell], route: Route) -> None:
    cell, text = cells[2], "x" * 990
    for _ in range(2):
        call(cell.address, "POST", "/jobs", cell.headers, {**EMAIL, "payload": {**EMAIL["payload"], "body": text}})
    names = "".join(f"&kind=k{number:060}&queue=q{number:060}" for number in range(19))
    path = f"/jobs?limit=1&payload.body={text}&kind=send_email&queue=default{names}"

    direct, routed = (call(address, "GET", path, cell.headers) for address in (cell.address, router.address))

    # The link to the next page repeats the whole query.
    assert len(direct.headers["Link"]) > 3500
    changing = {"Date", "X-Request-Id", "Connection", "Server", "X-Server"}
    assert (routed.status, routed.body) == (direct.status, direct.body)
    assert {name: value for name, value in routed.headers.items() if name not in changing} == {
        name: value for name, value in direct.headers.items() if name not in changing
    }
