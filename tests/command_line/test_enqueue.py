"""`haulier enqueue KIND`: it ..."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

from tests.command_line.conftest import SUMMARY, Run, lossy, not_refused
from tests.conftest import PATIENCE, eventually
from tests.docs.stack import _worker as worker


def test_prints_only_the_id(run: Run) -> None:
    made = run("enqueue", "summarize_text", SUMMARY)

    assert (made.code, made.err) == (0, "")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", made.out)
    assert run("jobs", "show", made.out.strip(), "--json").json["payload"] == json.loads(SUMMARY)


def test_passes_every_option_on(run: Run) -> None:
    options = ["--queue", "bulk", "--priority", "-5", "--max-attempts", "7", "--timeout", "2m", "--tag=a", "--tag=b"]

    made = run("enqueue", "summarize_text", "-", *options, "--delay", "1h30m", "--key", "k-1", "--json", input=SUMMARY)

    job = made.json
    assert {name: job[name] for name in ("queue", "priority", "max_attempts", "timeout_seconds", "tags")} == {
        "queue": "bulk", "priority": -5, "max_attempts": 7, "timeout_seconds": 120, "tags": ["a", "b"],
    }  # fmt: skip
    late = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
    assert timedelta(minutes=89) < late < timedelta(minutes=91)
    assert job["idempotency_key"] == "k-1"
    at = run("enqueue", "summarize_text", SUMMARY, "--at", "2099-01-01T00:00:00+01:00", "--json").json
    assert at["run_at"] == "2098-12-31T23:00:00.000000Z"


def test_says_that_a_key_is_known(run: Run) -> None:
    first, again = (run("enqueue", "summarize_text", SUMMARY, "--key", "order-1") for _ in range(2))

    assert again.out == first.out
    assert again.err == "haulier: the idempotency key order-1 was used before: this is the existing job, queued\n"


def test_waits_for_the_end_and_exits_with_its_code(run: Run, database: str) -> None:
    mail = '{"to": "a@b.c", "subject": "Hi", "body": "Hello."}'
    job = run("enqueue", "summarize_text", SUMMARY, "--delay", "1d").out.strip()
    run("jobs", "cancel", job)

    with worker(database):
        done = run("enqueue", "summarize_text", SUMMARY, "--wait")
        shown = run("enqueue", "summarize_text", SUMMARY, "--wait", "30", "--json")
        # No SMTP_URL is set.
        failed = run("enqueue", "send_email", mail, "--wait", "1m")
        delayed = run("enqueue", "summarize_text", SUMMARY, "--delay", "1d", "--wait", "0.2s")
        watched = run("jobs", "show", job)

    assert (done.code, failed.code, delayed.code) == (0, 7, 124)
    assert re.search(r"haulier: succeeded, ran \d+ ms\nhaulier: result: \{", done.err)
    assert (shown.json["status"], shown.err.split(",")[0]) == ("succeeded", "haulier: succeeded")
    assert "haulier: failed permanently, ran" in failed.err
    assert "SMTP_URL" in failed.err
    assert delayed.err == f"haulier: {delayed.out.strip()} is queued after 200 ms\n"
    assert watched.code == 0


def test_exits_with_8_if_the_job_is_cancelled_meanwhile(start, run: Run) -> None:
    with start("enqueue", "summarize_text", SUMMARY, "--wait") as waiting:
        job = waiting.stdout.readline().strip()
        run("jobs", "cancel", job)
        code = waiting.wait(PATIENCE)

    assert code == 8


def test_says_in_a_line_what_is_wrong_with_an_argument(run: Run) -> None:
    expected: dict[tuple[str, ...], str] = {
        ("{",): "is not JSON",
        ("[1]",): "must be an object",
        (SUMMARY, "--delay", "soon"): "'soon' is not a duration such as 90s, 10m, 1h30m or 2d",
        (SUMMARY, "--at", "noon"): "'noon' is not a time such as 2026-12-01T09:00:00Z",
        (SUMMARY, "--at", "1h", "--delay", "1h"): "give either --delay or --at",
        (SUMMARY, "--timeout", "1.5"): "--timeout: must be whole seconds",
        (SUMMARY, "--priority", "high"): "'high' is not a valid integer",
        (SUMMARY, "--colour"): "No such option",
    }

    assert not_refused(run, {("enqueue", "summarize_text", *args): said for args, said in expected.items()}) == {}


def test_says_what_the_service_refuses(run: Run, server) -> None:
    host = server.url.removeprefix("http://")
    payload, kind = run("enqueue", "summarize_text", "{}"), run("enqueue", "no_such_kind")
    run("enqueue", "summarize_text", SUMMARY, "--key", "k")
    other = run("enqueue", "summarize_text", SUMMARY, "--key", "k", "--priority", "1")

    for refused in (payload, kind, other):
        assert refused.code == 1
        assert re.fullmatch(rf"haulier: {host} refuses: .+ \(request \S+\)\n", refused.err), refused.err
    assert "text" in payload.err


def test_stores_a_job_once_if_the_answer_is_lost(process: Run, run: Run, server) -> None:
    eventually(lambda: run("jobs", "count").code == 0)
    with lossy(server.url, lost=1) as url:
        made = process("enqueue", "summarize_text", SUMMARY, HAULIER_URL=url)

    assert made.code == 0, made.err
    assert "broke" in made.err
    assert [job["id"] for job in run("jobs", "list", "--json").lines] == [made.out.strip()]
