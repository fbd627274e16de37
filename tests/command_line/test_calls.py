"""How commands call a service: retries, deadlines, messages, and no key in any output. It ..."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import click
import pytest
from click.testing import CliRunner

from haulier.cli.parts import completing
from haulier.cli.parts.invocation import Invocation
from haulier.cli.root import root
from haulier.client import api
from tests.command_line.conftest import Run, not_refused
from tests.kinds.kinds_tools import Receiver, endless, receiving, reply

KEY = "hlr_" + "k3xq0v9a2b7c_" + "s" * 43


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let attempts follow each other at once."""
    monkeypatch.setattr(api, "PAUSES", (0.0, 0.01, 0.02, 0.03, 0.04))
    monkeypatch.setattr(api, "FIRST_PAUSES", (0.0, 0.01))


@contextmanager
def answering(*answers: tuple[int, Any, dict[str, str]]) -> Iterator[Receiver]:
    """Give a service that answers so, the last one for ever."""

    def answer(handler: BaseHTTPRequestHandler, _: object) -> None:
        status, body, headers = answers[min(len(service.requests), len(answers)) - 1]
        reply(handler, status, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)

    with receiving(answer) as service:
        yield service


def error(slug: str, message: str = "it is so") -> dict[str, str]:
    return {"error": slug, "message": message, "request_id": "r-1"}


COUNT = {"count": 7, "is_exact": True, "at": "2026-11-27T12:00:00Z"}


def test_says_each_refusal_in_a_line_and_by_its_code(run: Run) -> None:
    codes = {400: 1, 401: 4, 403: 4, 404: 3, 409: 1, 413: 1, 422: 1, 429: 1, 500: 5, 503: 5}

    wrong = {}
    for status, code in codes.items():
        with answering((status, error("slug"), {"Retry_After": "0"})) as service:
            refused = run("jobs", "count", HAULIER_URL=service.url)
        verb = " refuses" if code in (1, 4) else ""
        line = f"haulier: {service.url.removeprefix('http://')}{verb}: it is so (request r-1)"
        times = 6 if status in (429, 503) else 1
        if (refused.code, refused.out, refused.err.splitlines()[-1], len(service.requests)) != (code, "", line, times):
            wrong[status] = refused

    assert wrong == {}


def test_asks_again_after_429_and_503_as_long_as_is_said(run: Run) -> None:
    with answering(
        (503, error("unavailable"), {"Retry_After": "0"}), (429, error("rate_limited"), {}), (200, COUNT, {})
    ) as service:
        counted = run("jobs", "count", HAULIER_URL=service.url)
        quiet = run("jobs", "count", "-q", HAULIER_URL=service.url)

    assert (counted.code, counted.out) == (0, "7\n")
    assert [line.rsplit(";", 1)[1] for line in counted.err.splitlines()] == [
        " retrying in 0 s",
        " retrying in 0.01 s",
    ]
    assert (quiet.out, quiet.err) == ("7\n", "")


def test_waits_no_longer_than_half_a_minute_whatever_is_said() -> None:
    refused = api.Refused("later", status=503)
    refused.retry_after = 3600.0
    client = api.Api(api.Service("http://127.0.0.1:1", lambda: None), note=lambda _: None)

    assert client._wait_before_another(api.Call("GET", "/", is_safe=True), refused, 0) == 30
    assert client._wait_before_another(api.Call("GET", "/", is_safe=True), refused, 5) is None


def test_repeats_no_call_that_may_have_been_done(run: Run, job: str) -> None:
    with answering((503, error("unavailable"), {})) as service:
        retried = run("jobs", "retry", job, HAULIER_URL=service.url)

    assert retried.code == 5
    assert [(request.method, request.path) for request in service.requests] == [("POST", f"/jobs/{job}/retry")]


def test_says_that_a_service_cannot_be_reached(run: Run) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{nobody.getsockname()[1]}"
        refused = run("jobs", "list", HAULIER_URL=f"http://{host}")
        assert run("top", HAULIER_URL=f"http://{host}").code == 5
    unknown = run("jobs", "list", HAULIER_URL="https://no-such-host.invalid")

    assert refused.code == unknown.code == 5
    assert refused.err.splitlines()[-1] == f"haulier: {host} cannot be reached: Connection refused"
    assert len(refused.err.splitlines()) == 3
    assert unknown.err.splitlines()[-1].startswith("haulier: no-such-host.invalid cannot be reached: ")


def test_says_how_to_name_a_service_if_nobody_has(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haulier.cli.client.service.DEFAULT_URL", "http://127.0.0.1:1")

    refused = run("jobs", "list", HAULIER_URL=None)

    assert refused.err.splitlines()[-1] == (
        "haulier: 127.0.0.1:1 cannot be reached: Connection refused; no service is chosen yet: `haulier login --url …`,"
        " or set HAULIER_URL"
    )


def test_gives_up_at_the_deadline_although_bytes_keep_coming() -> None:
    with receiving(endless(b" ", 0.02, Content_Length="1000")) as slow:
        client = api.Api(api.Service(slow.url, lambda: None), note=lambda _: None)
        with closing(client), pytest.raises(api.Unreachable, match="did not answer within 0.2 s"):
            client.send(api.Call("GET", "/jobs/count", seconds=0.2))


def test_says_that_another_program_answers(run: Run) -> None:
    answers: list[tuple[int, Any, dict[str, str], str]] = [
        (404, b"<h1>Not here</h1>", {}, "answers 404, but not like Haulier"),
        (200, b"<h1>Welcome</h1>", {}, "answers 200, but not like Haulier"),
        (404, [], {}, "answers 404, but not like Haulier"),
        (308, b"", {"Location": "https://elsewhere.example/jobs"}, "redirects to https://elsewhere.example/jobs"),
    ]

    for status, body, headers, said in answers:
        with answering((status, body, headers)) as service:
            strange = run("jobs", "count", HAULIER_URL=service.url)

        assert strange.code == 5
        assert said in strange.err
        assert len(service.requests) == 1


def test_shows_requests_and_answers_without_the_key(run: Run) -> None:
    with answering((200, COUNT, {"X_Request_Id": "r-1"})) as service:
        shown = run("-v", "jobs", "count", "--kind", "mail", HAULIER_URL=service.url, HAULIER_API_KEY=KEY)

    assert shown.out == "7\n"
    assert f"> GET {service.url}/jobs/count?kind=mail\n" in shown.err
    assert "> Authorization: Bearer (not shown)\n" in shown.err
    assert "< 200 OK\n" in shown.err
    assert "< x-request-id: r-1\n" in shown.err
    assert "s" * 10 not in shown.err


def test_sends_the_key_as_a_header_and_none_from_netrc(run: Run, home) -> None:
    (home / ".netrc").write_text("default login ann password of-somebody-else\n")

    with answering((200, COUNT, {})) as service:
        for given in (KEY, None):
            assert run("jobs", "count", HAULIER_URL=service.url, HAULIER_API_KEY=given).code == 0

    assert [request.headers.get("authorization") for request in service.requests] == [f"Bearer {KEY}", None]


def test_makes_visible_what_a_service_says(run: Run) -> None:
    with answering((409, error("conflict", "\x1b[2Jgone\nhaulier: all is well"), {})) as service:
        refused = run("jobs", "count", HAULIER_URL=service.url)

    assert refused.err.count("\n") == 1
    assert r"\x1b[2Jgone\nhaulier: all is well" in refused.err


def test_calls_no_invalid_url_and_quotes_no_password(run: Run) -> None:
    invalid = "--url: must be a URL"
    expected = {
        "jobs.example.com": f"{invalid} such as https://jobs.example.com",
        "ftp://jobs.example.com": invalid,
        "https://": invalid,
        "https://jobs.example.com:x": invalid,
        "https://jobs\x1b.example.com": invalid,
        "https://ann:secret@jobs.example.com": "--url: must not contain a password, ? or #",
        "https://jobs.example.com?key=secret": "--url: must not contain a password, ? or #",
    }

    assert not_refused(run, {("--url", url, "jobs", "list"): said for url, said in expected.items()}) == {}
    assert "secret" not in "".join(run("--url", url, "jobs", "list").err for url in expected)


def test_warns_each_time_that_the_way_is_not_encrypted(run: Run) -> None:
    with answering((200, COUNT, {})) as service:
        # The name of this machine, whatever that is, is not loopback's.
        warned = run("-q", "jobs", "count", HAULIER_URL=f"http://localhost.localdomain.invalid:{service.port}")
        local = run("jobs", "count", HAULIER_URL=f"http://localhost:{service.port}")

    assert re.match(r"haulier: http://\S+ is not encrypted: others on the network can read the key\n", warned.err)
    assert local.err == ""


def test_refuses_a_key_that_is_none_and_does_not_show_it(run: Run) -> None:
    refused = run("jobs", "list", HAULIER_API_KEY="two words")

    assert refused.code == 4
    assert refused.err == (
        "haulier: HAULIER_API_KEY: must be 1 to 255 visible ASCII characters, none of them a space\n"
    )


def test_completes_names_that_steer_no_terminal_and_keeps_them_for_a_minute(home, monkeypatch) -> None:
    monkeypatch.setattr(completing, "SECONDS", 10.0)
    kept = home / ".cache" / "haulier" / "completion.json"

    def offered() -> list[str]:
        context = click.Context(root, obj=Invocation({"url": service.url}))
        with CliRunner(env={"HOME": str(home)}).isolation():
            return completing.complete("queues", context, "")

    with answering((200, [{"name": "mail"}, {"name": "\x1b[2Jmail"}, {"name": "mail\nx"}], {})) as service:
        assert offered() == offered() == ["mail"]
        assert len(service.requests) == 1
        for spoilt in (kept.read_text().replace('"at": 1', '"at": 0'), "{"):
            kept.write_text(spoilt)
            assert offered() == ["mail"]
    assert len(service.requests) == 3
    kept.unlink()
    assert offered() == []
