"""`haulier schedules` over HTTP: it ..."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from haulier.cli.parts import completing
from haulier.cli.parts.invocation import Invocation
from haulier.cli.root import root
from tests.command_line.conftest import SUMMARY, Run, not_refused
from tests.conftest import Sql
from tests.web import Server

CREATE = ("schedules", "create", "nightly", "summarize_text", SUMMARY)
BERLIN = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin")


def shown(run: Run) -> dict[str, Any]:
    return run("schedules", "show", "nightly", "--json").json


def rule(run: Run, *fields: str) -> list[Any]:
    found = shown(run)
    return [found[field] for field in fields]


def test_makes_lists_and_shows_a_schedule(run: Run) -> None:
    made = run(*CREATE, *BERLIN, "--overlap", "skip", "--jitter", "5m", "--queue", "bulk", "--tag", "a", "--tag", "b")
    listed, people = run("schedules", "list"), run("schedules", "show", "nightly")

    assert (made.code, made.err) == (0, "")
    assert re.fullmatch(r"nightly  30 2 \* \* \* Europe/Berlin  next \S+Z\n", made.out)
    [row] = listed.rows
    assert [*row[:8], *row[9:]] == [
        *["nightly", "30", "2", "*", "*", "*", "Europe/Berlin", "active"],
        *["summarize_text", "bulk", "api"],
    ]
    assert run("schedules", "list", "--json").json["name"] == "nightly"
    lines = people.out.splitlines()
    assert lines[0] == "nightly  active  30 2 * * * Europe/Berlin"
    for line in (
        "source      api",
        "overlap     skip",
        "missed      last",
        "jitter      up to 5 min",
        "job         summarize_text  max_attempts 3  priority 0  queue bulk  tags a, b",
        f"payload     {SUMMARY}",
    ):
        assert line in lines
    assert len([line for line in lines if re.fullmatch(r"(next)? +\d{4}-\S+Z", line)]) == 10


def test_replaces_no_schedule_of_the_same_name(run: Run) -> None:
    run(*CREATE, *BERLIN)
    before = shown(run)

    again = run(*CREATE, "--every", "1h")

    assert (again.code, again.out) == (1, "")
    assert "the schedule nightly exists already: change it with `haulier schedules edit nightly`" in again.err
    assert shown(run) == before


def test_says_in_a_line_what_is_wrong_and_does_nothing(run: Run, sql: Sql) -> None:
    usage: dict[tuple[str, ...], str] = {
        CREATE: "give --cron or --every",
        (*CREATE, *BERLIN, "--every", "1h"): "give either --cron or --every",
        (*CREATE, "--every", "1.5s"): "--every: must be whole seconds",
        (*CREATE, "--every", "1m", "--missed-within", "0.5s"): "--missed-within: must be whole seconds",
        ("schedules", "create", "Nightly", "summarize_text", SUMMARY, *BERLIN): "must begin with a letter a-z",
        ("schedules", "edit", "nightly"): "give at least one change",
        ("schedules", "next"): "give the name of a schedule, --cron or --every",
        ("schedules", "next", "nightly", "--every", "1h"): "give either the name of a schedule, or --cron",
        ("schedules", "pause", "nightly", "--for", "1h", "--until", "2099-01-01"): "give either --for or --until",
        ("schedules", "delete", "nightly"): "There is no terminal to ask on: use --yes to confirm",
    }
    refusals: dict[tuple[str, ...], str] = {
        (*CREATE, "--cron", "61 * * * *"): "refuses",
        (*CREATE, *BERLIN, "--zone", "Mars/Olympus"): "refuses",
        ("schedules", "create", "nightly", "no_such_kind", *BERLIN): "refuses",
    }
    absent = dict.fromkeys(
        [
            ("schedules", "edit", "nightly", "--cron", "@daily"),
            ("schedules", "show", "nightly"),
            ("schedules", "ticks", "nightly"),
            ("schedules", "run", "nightly"),
        ],
        "schedule nightly not found",
    )

    assert not_refused(run, usage) == not_refused(run, refusals, code=1) == not_refused(run, absent, code=3) == {}
    assert sql("SELECT 1 FROM haulier.schedule") == []


def test_changes_what_is_given_and_nothing_else(run: Run) -> None:
    run(*CREATE, *BERLIN, "--missed", "all", "--missed-max", "5", "--missed-within", "1h", "--timeout", "30s")

    codes = [run("schedules", "edit", "nightly", "--overlap", "skip", "--priority", "5").code]
    kept = rule(run, "cron", "time_zone", "missed_max", "missed_within_seconds", "overlap", "job")
    codes.append(run("schedules", "edit", "nightly", "--every", "90s").code)
    every = rule(run, "cron", "every_seconds", "time_zone", "missed_max")
    codes.append(run("schedules", "edit", "nightly", "--missed", "skip", "--payload", '{"text": "Two."}').code)
    skip = rule(run, "every_seconds", "missed", "missed_max", "job")
    codes.append(run("schedules", "edit", "nightly", "--cron", "@daily", "--zone", "Asia/Tokyo").code)

    assert codes == [0, 0, 0, 0]
    job = kept[-1]
    assert kept[:5] == ["30 2 * * *", "Europe/Berlin", 5, 3600, "skip"]
    assert (job["priority"], job["timeout_seconds"], job["payload"]["text"][:8]) == (5, 30, "The ship")
    assert every == [None, 90, "UTC", 5]
    assert skip == [90, "skip", None, {**job, "payload": {"text": "Two."}}]
    assert rule(run, "cron", "every_seconds", "time_zone") == ["@daily", None, "Asia/Tokyo"]


def test_pauses_resumes_runs_and_deletes(run: Run, sql: Sql) -> None:
    run(*CREATE, *BERLIN, "--paused", "--overlap", "skip")
    begun = shown(run)["paused"]
    resumed = run("schedules", "resume", "nightly")
    paused = run("schedules", "pause", "nightly", "--for", "1h")
    ran, again = run("schedules", "run", "nightly"), run("schedules", "run", "nightly")
    listed = run("schedules", "list")
    ticks = run("schedules", "ticks", "nightly")
    deleted = run("schedules", "delete", "nightly", "--yes")

    assert begun is True
    assert resumed.out == "nightly  not paused\n"
    assert re.fullmatch(r"nightly  paused until \S+Z\n", paused.out)
    assert "paused" in listed.rows[0]
    job = ran.out.strip()
    assert (again.code, job in again.err) == (1, True)
    assert [(row[1], row[-1]) for row in ticks.rows] == [("fired", job)]
    assert (deleted.code, deleted.out) == (0, "nightly  deleted\n")
    assert run("schedules", "delete", "nightly", "--yes").code == 3
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_says_why_the_database_refuses_the_job_of_a_schedule(run: Run, sql: Sql) -> None:
    run(*CREATE, *BERLIN)
    sql("UPDATE haulier.schedule SET refusals = 3, refused_since = now(), refusal = 'no such customer'")

    [row], people = run("schedules", "list").rows, run("schedules", "show", "nightly").out

    assert "refused" in row
    assert re.search(r"^refused +3 × since \S+Z: no such customer\n +tried again at \S+Z$", people, re.MULTILINE)


def test_says_what_changes_of_clocks_do_to_ticks(run: Run) -> None:
    asked = ("schedules", "next", *BERLIN, "--from", "2026-03-28T12:00:00Z", "--count", "2")

    people, programs = run(*asked), run(*asked, "--json")

    assert people.rows[0][:2] == ["2026-03-29T01:00:00.000000Z", "2026-03-29T03:00:00+02:00"]
    assert people.out.splitlines()[1].endswith("The clocks skip this time: the tick fires right after the gap.")
    assert [(each["local"], bool(each["note"])) for each in programs.lines] == [
        ("2026-03-29T03:00:00+02:00", True),
        ("2026-03-30T02:30:00+02:00", False),
    ]
    assert len(run("schedules", "next", "--every", "1h").rows) == 10


def test_shows_the_ticks_that_a_schedule_will_have(run: Run) -> None:
    run(*CREATE, *BERLIN)
    run("schedules", "create", "often", "summarize_text", SUMMARY, "--every", "7000s")

    def of(name: str, *args: str) -> list[str]:
        return [each["scheduled_at"] for each in run("schedules", "next", name, "--json", *args).lines]

    assert of("nightly") == shown(run)["next_ticks"]
    often = run("schedules", "show", "often", "--json").json["next_ticks"]
    assert of("often", "--count", "5") == often[:5]
    # From later on, the schedule has the same ticks.
    later = datetime.fromisoformat(often[2]) + timedelta(minutes=5)
    assert of("often", "--from", later.isoformat(), "--count", "3") == often[3:6]
    run("schedules", "pause", "often")
    assert "often is paused: ticks during the pause are skipped" in run("schedules", "next", "often").err


def test_completes_the_names_of_schedules(run: Run, server: Server, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*CREATE, *BERLIN)
    run("schedules", "create", "weekly", "summarize_text", SUMMARY, "--cron", "@weekly")
    monkeypatch.setattr(completing, "SECONDS", 10.0)

    context = click.Context(root, obj=Invocation({"url": server.url}))
    with CliRunner(env={"HOME": str(home)}).isolation():
        found = [completing.complete("schedules", context, begun) for begun in ("", "we", "x")]

    assert found == [["nightly", "weekly"], ["weekly"], []]
