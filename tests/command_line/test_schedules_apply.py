"""`haulier schedules apply`: it ..."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.command_line.conftest import SUMMARY, Ended, Run
from tests.conftest import Sql
from tests.queue.schedules.schedules import plant

pytestmark = pytest.mark.direct("a command goes past the pool")

Apply = Callable[..., Ended]

FILE = """\
[schedules.nightly]
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
overlap = "skip"

[schedules.nightly.job]
kind = "summarize_text"
queue = "bulk"
payload = { text = "All that came in. It was much." }

[schedules."clean.up"]
every_seconds = 300
job = { kind = "summarize_text", payload = { text = "One. Two." } }
"""
KINDS = """\
from marshmallow import fields

from haulier.kinds import PayloadSchema, kind


class Bill(PayloadSchema):
    to = fields.String(required=True)


@kind("bill", schema=Bill)
def bill(context, payload):
    return None
"""
WITHOUT_CLEANING = FILE.partition('\n[schedules."clean.up"]')[0]


@pytest.fixture
def apply(run: Run, database: str, tmp_path: Path) -> Apply:
    """Give a function that applies a file of this text."""

    def apply(text: str, *args: str, **environ: str) -> Ended:
        (tmp_path / "schedules.toml").write_text(text, encoding="utf-8")
        # Nobody has to serve.
        here = {"DATABASE_URL": database, "HAULIER_URL": "http://127.0.0.1:9", **environ}
        return run("schedules", "apply", str(tmp_path / "schedules.toml"), *args, **here)

    return apply


def rows_of(sql: Sql) -> list[tuple[Any, ...]]:
    return sql("SELECT name, source, ctid, xmin FROM haulier.schedule ORDER BY name")


def record(sql: Sql) -> list[tuple[Any, ...]]:
    return sql("SELECT actor, action, target FROM haulier.audit ORDER BY at, target")


def test_makes_changes_and_removes_what_the_file_says_and_leaves_the_rest(apply: Apply, run: Run, sql: Sql) -> None:
    run("schedules", "create", "of-the-api", "summarize_text", SUMMARY, "--cron", "@daily")
    first = apply(FILE)
    made = run("schedules", "list", "--json").lines
    changed = FILE.replace("30 2", "0 3").replace("It was much", "It was little")
    second = apply(changed.partition('\n[schedules."clean.up"]')[0])

    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines() == [
        "created  clean.up",
        "created  nightly",
        "created: 2, changed: 0, removed: 0, left as it is: 0",
    ]
    assert [(each["name"], each["source"]) for each in made] == [
        ("clean.up", "file"),
        ("nightly", "file"),
        ("of-the-api", "api"),
    ]
    assert (made[1]["cron"], made[1]["time_zone"], made[1]["overlap"]) == ("30 2 * * *", "Europe/Berlin", "skip")
    assert made[1]["job"] == {
        "kind": "summarize_text", "queue": "bulk", "priority": 0, "max_attempts": 3,
        "payload": {"text": "All that came in. It was much."},
    }  # fmt: skip
    assert second.out.splitlines() == [
        "removed  clean.up",
        'changed  nightly: cron "30 2 * * *" to "0 3 * * *", payload',
        "created: 0, changed: 1, removed: 1, left as it is: 0",
    ]
    assert [row[:2] for row in rows_of(sql)] == [("nightly", "file"), ("of-the-api", "api")]
    assert record(sql)[1:] == [
        ("file", "put_schedule", "clean.up"),
        ("file", "put_schedule", "nightly"),
        ("file", "delete_schedule", "clean.up"),
        ("file", "put_schedule", "nightly"),
    ]
    [(details,)] = sql("SELECT details FROM haulier.audit ORDER BY at DESC, target DESC LIMIT 1")
    assert details == {"changes": {"cron": {"old": "30 2 * * *", "new": "0 3 * * *"}, "payload": {}}}


def test_does_nothing_at_a_dry_run_and_if_the_file_is_equal(apply: Apply, sql: Sql) -> None:
    apply(FILE)
    before = rows_of(sql), record(sql)
    other = WITHOUT_CLEANING.replace('"skip"', '"allow"').replace("nightly", "daily") + WITHOUT_CLEANING

    dry, as_json = apply(other, "--dry-run"), apply(other, "--dry-run", "--json")

    assert dry.out.splitlines() == [
        "would remove  clean.up",
        "would create  daily",
        "would create: 1, would change: 0, would remove: 1, would leave as it is: 1",
    ]
    assert [(each["name"], each["action"], each["changes"]) for each in as_json.lines] == [
        ("clean.up", "remove", {}),
        ("daily", "create", {}),
        ("nightly", "leave", {}),
    ]
    assert apply(FILE.replace("300", "60"), "--dry-run", "--json").lines[0]["changes"] == {
        "every_seconds": {"old": 300, "new": 60}
    }
    # Other words for the same.
    again = apply(FILE.replace("30 2 *", " 30  2 *").replace('queue = "bulk"', 'queue = "bulk"\npriority = 0'))
    assert again.out == "created: 0, changed: 0, removed: 0, left as it is: 2\n"
    assert (rows_of(sql), record(sql)) == before != ([], [])


def test_refuses_a_name_of_the_api_and_does_nothing_of_the_file(apply: Apply, run: Run, sql: Sql) -> None:
    run("schedules", "create", "nightly", "summarize_text", SUMMARY, "--cron", "@daily")
    before = rows_of(sql)

    refused, dry = apply(FILE), apply(FILE, "--dry-run")

    assert (refused.code, dry.code, refused.out) == (1, 1, "")
    assert (
        refused.err
        == dry.err
        == (
            "haulier: schedule nightly was created through the API, not from a file; nothing was changed. Delete it"
            " there"
            " (`haulier schedules delete nightly`) or rename it in the file\n"
        )
    )
    assert rows_of(sql) == before


def test_names_each_fault_and_does_nothing_of_the_file(apply: Apply, sql: Sql, tmp_path: Path) -> None:
    refused = apply(FILE.replace("Europe/Berlin", "Mars/Olympus").replace('text = "One. Two."', "words = 3"))

    file = tmp_path / "schedules.toml"
    assert (refused.code, refused.out) == (1, "")
    assert sorted(refused.err.splitlines()[:-1]) == sorted(
        f"haulier: {file}: {fault}"
        for fault in (
            "nightly: time_zone: Must be the name of a time zone, such as Europe/Berlin.",
            "clean.up: job.payload.text: Missing data for required field.",
            "clean.up: job.payload.words: Unknown field.",
        )
    )
    assert refused.err.splitlines()[-1] == f"haulier: {file} has 3 errors: nothing was changed"
    assert sql("SELECT 1 FROM haulier.schedule") == []


def test_checks_no_payload_if_the_kinds_cannot_be_loaded(apply: Apply, sql: Sql) -> None:
    done = apply(FILE.replace("summarize_text", "of_the_team"), HAULIER_KINDS="no_such_module")

    assert done.code == 0
    assert "no_such_module cannot be imported" in done.err
    assert done.err.endswith(": kinds and payloads are not checked\n")
    assert sql("SELECT job ->> 'kind' FROM haulier.schedule") == [("of_the_team",)] * 2


def test_checks_payloads_by_kinds_of_the_working_directory(
    apply: Apply, own_kinds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kinds_of_a_team.py").write_text(KINDS)
    monkeypatch.chdir(tmp_path)
    # As of an installed command.
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    monkeypatch.delitem(sys.modules, "kinds_of_a_team", raising=False)
    text = '[schedules.bills]\ncron = "@daily"\njob = { kind = "bill", payload = { to = 5 } }\n'

    refused = apply(text, HAULIER_KINDS="kinds_of_a_team")
    done = apply(text.replace("5", '"ann"'), HAULIER_KINDS="kinds_of_a_team")

    assert (refused.code, done.code, done.err) == (1, 0, "")
    assert "bills: job.payload.to: Not a valid string." in refused.err


def test_the_api_steers_a_schedule_of_the_file_and_changes_none(apply: Apply, run: Run) -> None:
    apply(FILE)
    changed = run("schedules", "edit", "nightly", "--cron", "@daily")
    deleted = run("schedules", "delete", "nightly", "--yes")
    run("schedules", "pause", "nightly", "--until", "2099-01-01T00:00:00Z")
    ran = run("schedules", "run", "nightly")

    again, differs = apply(FILE), apply(FILE.replace("30 2", "0 3"))

    assert (changed.code, deleted.code, ran.code) == (1, 1, 0)
    assert "schedule nightly comes from schedules.toml: change it there" in changed.err
    assert again.out.endswith("left as it is: 2\n")
    assert "changed  nightly: cron" in differs.out
    shown = run("schedules", "show", "nightly", "--json").json
    assert (shown["paused"], shown["paused_until"]) == (True, "2099-01-01T00:00:00.000000Z")
    assert [tick["outcome"] for tick in shown["last_ticks"]] == ["fired"]
    assert apply(FILE.replace("overlap", "paused = true\noverlap")).code == 1


def test_an_empty_file_removes_nothing_and_an_empty_table_everything(apply: Apply, sql: Sql) -> None:
    apply(FILE)

    empty, missing = apply(""), apply("[schedule.nightly]\n")
    kept = rows_of(sql)
    alone = apply("[schedules]\n")

    assert (empty.code, missing.code, alone.code) == (1, 1, 0)
    assert "The table [schedules] is missing. To remove all schedules, leave it empty." in empty.err
    assert "schedule: Unknown. A schedule is a table [schedules.NAME]." in missing.err
    assert len(kept) == 2
    assert rows_of(sql) == []


def test_apply_and_migrate_correct_when_schedules_are_due_next(apply: Apply, run: Run, database: str, sql: Sql) -> None:
    apply(FILE)
    plant(sql, "lost", cron="@daily", time_zone="Mars/Olympus")
    next_at = "SELECT next_at FROM haulier.schedule WHERE name = 'nightly'"
    right = sql(next_at)
    for command in (partial(apply, FILE), partial(run, "migrate", DATABASE_URL=database)):
        # As if the zones of the release before had said so.
        sql("UPDATE haulier.schedule SET next_at = next_at + interval '1 day' WHERE name = 'nightly' RETURNING 1")

        done = command()

        said = done.out + done.err
        assert "schedules whose next tick moved because of new time zone data: 1" in said
        assert "haulier: the schedule lost does not fire: time_zone: Must be the name of a time zone" in said
        assert sql(next_at) == right
