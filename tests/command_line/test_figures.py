"""Commands that show figures, errors, queues, workers, the database and the record; and `haulier top`. It ..."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haulier.cli.commands import queues
from haulier.cli.terminal import output
from haulier.queue import claims
from tests.api.conftest import Fail
from tests.command_line.conftest import SUMMARY, Run, Terminal
from tests.conftest import Sql, eventually
from tests.docs.stack import _worker as worker
from tests.web import Server


def test_lists_shows_and_mutes_groups_of_errors(run: Run, fail: Fail) -> None:
    job = fail("no luck 1")
    fail("no luck 2", for_good=False)
    fail("other\x1b", queue="bulk")

    listed = run("errors", "list")
    shown = run("errors", "show", "no luck")
    muted, unmuted = run("errors", "mute", "no luck", "--for", "2h"), run("errors", "mute", "no luck", "--off")

    assert [row[1:4] for row in listed.rows] == [["mail", "1", "0"], ["mail", "1", "1"]]
    assert [row[-2:] for row in listed.rows] == [["–", "other\\x1b"], ["luck", "…"]]
    group = listed.rows[1][0]
    assert shown.out.startswith(f"mail  no luck …\n{group}  first 2")
    assert "in 24h: 1 failed permanently, 1 to be retried  ▁▁" in shown.out
    assert f"first error, job {job.id}:\n            no luck 1\n" in shown.out
    assert re.fullmatch(rf"{group}  muted until \S+Z\n", muted.out)
    assert unmuted.out == f"{group}  no longer muted\n"
    assert [each["id"] for each in run("errors", "list", "--queue", "bulk", "--json").lines] == [listed.rows[0][0]]
    assert run("errors", "show", group, "--json").json["failed"] == 1
    assert run("errors", "show", "0123456789abcdef").code == 3
    assert run("errors", "mute", group, "--off", "--for", "1h").code == 2


def test_lists_queues(run: Run, counted: Callable[[], None], sql: Sql) -> None:
    sql("INSERT INTO haulier.job (kind, queue, payload) SELECT 'mail', 'bulk', '{}' FROM generate_series(1, 3)")
    sql("INSERT INTO haulier.job (kind, queue, payload, run_at) SELECT 'mail', 'bulk', '{}', now() + interval '1 h'")
    counted()

    listed, one = run("queues", "list"), run("queues", "show", "bulk")

    assert listed.code == one.code == 0
    assert listed.out.split("\n")[0].split("  ")[0] == "QUEUE"
    assert [row[:5] for row in listed.rows] == [["bulk", "well", "3", "1", "0"]]
    assert one.rows[0][:5] == listed.rows[0][:5]
    assert run("queues", "show", "bulk", "--json").json["waiting"] == 4
    assert run("queues", "show", "absent").code == 3
    assert run("queues", "show", "../health").code == 3


def test_pauses_and_resumes_a_queue(run: Run) -> None:
    paused, listed = run("queues", "pause", "bulk"), run("queues", "list")
    until = run("queues", "pause", "bulk", "--for", "1h")
    resumed = run("queues", "resume", "bulk", "--json")

    assert (paused.code, paused.out) == (0, "bulk  paused\n")
    assert listed.rows[0][:2] == ["bulk", "paused"]
    assert re.fullmatch(r"bulk  paused until \S+Z\n", until.out)
    assert resumed.json["paused"] is False
    assert run("queues", "pause", "bulk", "--until", "2026-01-01").code == 1
    assert run("queues", "pause", "bulk", "--until", "2099-01-01", "--for", "1h").code == 2


def queue(**figures: Any) -> dict[str, Any]:
    minute = {name: figures.pop(name, 0) for name in ("arrived", "succeeded", "failed", "cancelled")}
    none = {"paused": False, "paused_until": None, "due": 0, "running": 0, "oldest_due_seconds": None}
    return {**none, **figures, "last_minute": minute}


def test_says_how_a_queue_is() -> None:
    terminal = output.Terminal(as_json=False, color="never", is_quiet=False, no_color=True)
    later, busy = "2026-12-01T00:00:00Z", {"due": 600, "succeeded": 120}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, "idle", "–"),
        ({"running": 1}, "well", "–"),
        (busy, "well", "5 min"),
        ({**busy, "arrived": 180}, "well", "never: +60/min"),
        ({**busy, "arrived": 180, "late": True}, "late", "never: +60/min"),
        ({"due": 10, "arrived": 1}, "well", "soon"),
        ({"due": 600}, "well", "never"),
        ({"due": 600, "succeeded": 170, "failed": 20}, "failing", "3 min 9 s"),
        ({"due": 600, "succeeded": 171, "failed": 19}, "well", "3 min 9 s"),
        ({"due": 9, "paused": True}, "paused", "–"),
        ({"due": 9, "paused": True, "paused_until": later}, "paused", f"until {later}"),
    ]

    said = [
        (figures, queues.how(queue(**figures)), queues.empty_in(terminal, queue(**figures))) for figures, *_ in cases
    ]

    assert said == cases


def test_lists_workers_and_lets_one_be_quiet(run: Run, conn) -> None:
    first = str(claims.register(conn, host="dock", pid=7, threads=8, queues=("bulk",), lease_seconds=60))
    second = str(claims.register(conn, host="dock", pid=8, threads=4, queues=(), lease_seconds=60))

    quiet = run("workers", "quiet", first)
    listed = run("workers", "list")
    awake = run("workers", "wake", first, "00000000-0000-0000-0000-000000000000")

    assert (quiet.code, quiet.out) == (0, f"{first}  quiet\n")
    assert [[row[0], row[1], row[2], row[-1]] for row in listed.rows] == [
        [second, "working", "dock:8", "all"],
        [first, "quiet", "dock:7", "bulk"],
    ]
    assert (awake.code, awake.out) == (6, f"{first}  working\n")
    assert [each["threads"] for each in run("workers", "list", "--json").lines] == [4, 8]


def test_shows_what_came_and_how_long_it_took(run: Run, counted: Callable[[], None]) -> None:
    counted()
    shown = run("stats", "--span", "24h", "--queue", "default")

    lines = shown.out.splitlines()
    assert lines[0].startswith("last 24h, as of 2")
    assert lines[1].split() == ["ARRIVED", "SUCCEEDED", "FAILED", "CANCELLED", "ATTEMPTS"]
    assert [line.split()[0] for line in lines[5:7]] == ["waited", "ran"]
    assert "waiting 0 due, 0 later   oldest –   running 0" in lines
    assert run("stats", "--json").json["span"] == "1h"


def test_says_that_nothing_has_been_counted(run: Run) -> None:
    assert run("stats").err == "haulier: nothing has been counted yet: no worker with COUNTING=on has run\n"


def test_shows_how_the_database_is(run: Run) -> None:
    shown = run("db")

    told = run("db", "--json").json
    names, tables = [check["name"] for check in told["checks"]], {table["name"] for table in told["tables"]}
    lines = shown.out.splitlines()
    assert shown.code == 0
    assert shown.out.startswith("PostgreSQL ")
    assert [line.split()[0] for line in lines[2:][: len(names)]] == names
    assert {line.split()[0] for line in lines[-len(tables) :]} == tables
    assert "job" in tables


def test_shows_the_record_over_http(run: Run, job: str, fail: Fail) -> None:
    run("jobs", "cancel", job)
    fail("no luck")
    run("errors", "mute", "no luck")

    listed, cancels = run("audit"), run("audit", "--action", "cancel", "--job", job, "--after", "1h", "--json")

    assert [row[1:3] for row in listed.rows] == [["–", "mute"], ["–", "cancel"]]
    assert listed.rows[1][3] == job
    assert [each["job_id"] for each in cancels.lines] == [job]
    assert [each["action"] for each in run("audit", "--target", listed.rows[0][3], "--json").lines] == ["mute"]
    assert run("audit", "--actor", "cli", "--json").lines == []


def test_shows_the_record_of_the_database_if_database_url_is_set(run: Run, database: str, server, job: str) -> None:
    run("jobs", "cancel", job)

    ours = run("audit", DATABASE_URL=database)
    more = run("audit", "--job", job, DATABASE_URL=database)
    asked = run("audit", "--job", job, "--url", server.url, DATABASE_URL=database)

    assert re.fullmatch(rf"\S+ \S+  - +cancel +{job}\n", ours.out)
    assert (more.code, asked.code) == (2, 0)
    assert "DATABASE_URL is set" in more.err
    assert asked.rows[0][3] == job


def test_measures_round_trips_and_jobs(run: Run, database: str) -> None:
    trips = run("ping", "-n", "3")
    with worker(database):
        jobs = run("ping", "-n", "2", "--job", "summarize_text", "--payload", SUMMARY, "--json")
        failed = run(
            "ping", "-n", "2", "--job", "send_email", "--payload", '{"to": "a@b.c", "subject": "", "body": ""}'
        )

    assert re.fullmatch(r"3 round trips to \S+: p50 \d+ ms, p95 \d+ ms, least \d+ ms, most \d+ ms\n", trips.out)
    assert jobs.json.keys() == {"n", "least_seconds", "p50_seconds", "p95_seconds", "most_seconds"}
    assert 0 < jobs.json["least_seconds"] <= jobs.json["p50_seconds"] <= jobs.json["most_seconds"] < 10
    assert failed.code in (1, 7)
    assert run("ping", "--payload", "{}").code == 2


def fill(sql: Sql, counted: Callable[[], None]) -> None:
    for queue, jobs in (("bulk", 3), ("mail", 7)):
        sql(
            "INSERT INTO haulier.job (kind, queue, payload) SELECT 'mail', %s, '{}' FROM generate_series(1, %s)",
            queue,
            jobs,
        )
    counted()


def test_prints_once_without_a_terminal(run: Run, server: Server, sql: Sql, counted) -> None:
    fill(sql, counted)

    shown = run("top")

    lines = shown.out.splitlines()
    assert re.fullmatch(rf"haulier top  {re.escape(server.url[7:])}  \d\d:\d\d:\d\d  every 2.0 s", lines[0])
    assert lines[1].startswith("waiting 10 due, 0 later")
    assert [line.split()[0] for line in lines[-3:]] == ["QUEUE", "mail", "bulk"]
    assert run("top", "--json").json["waiting"] == 10


def test_takes_the_screen_and_keys_and_gives_both_back(server: Server, home: Path, sql: Sql, counted) -> None:
    fill(sql, counted)
    top = Terminal(server, home, "top", "--every", "0.5")

    eventually(lambda: "waiting 10 due" in top.read())
    top.press("s")
    eventually(lambda: "sorted by running" in top.read())
    top.press("p")
    eventually(lambda: "paused" in top.read().rsplit("haulier top", 1)[1])
    top.press("p3")
    top.press("2")
    eventually(lambda: "LAST BEAT" in top.read())
    top.press("q")
    shown = top.end()

    assert "\x1b[?1049h" in shown
    assert shown.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l", "\x1b[?1049l"))


def test_gives_the_terminal_back_at_ctrl_c(server: Server, home: Path) -> None:
    top = Terminal(server, home, "top")
    eventually(lambda: "haulier top" in top.read())

    top.press("\x03")

    assert "\x1b[?1049l" in top.end(130)
