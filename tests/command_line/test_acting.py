"""What `haulier jobs` does to jobs whose ids are given: it ..."""

from __future__ import annotations

import json
from typing import Any

from tests.api.conftest import Fail
from tests.command_line.conftest import ABSENT, SUMMARY, Run, not_refused


def look(run: Run, job: str) -> dict[str, Any]:
    found: dict[str, Any] = run("jobs", "show", job, "--json").json
    return found


def test_moves_puts_first_and_lets_run_now(run: Run) -> None:
    job = run("enqueue", "summarize_text", SUMMARY, "--delay", "1d").out.strip()

    moved = run("jobs", "move", job, "--to", "bulk")
    first = run("jobs", "priority", job, "--to", "-5")
    now = run("jobs", "run-now", job, "--json")

    assert (moved.out, first.out) == (f"{job}  in bulk\n", f"{job}  priority -5\n")
    assert (now.json["queue"], now.json["priority"]) == ("bulk", -5)
    assert now.json["run_at"] < now.json["updated_at"] or now.json["run_at"] == now.json["updated_at"]
    assert run("jobs", "move", job, ABSENT, "--to", "mail").code == 6
    assert run("jobs", "move", job, "--to", "No Queue").code == 1


def test_changes_a_job_that_waits_and_no_other(run: Run, job: str, fail: Fail) -> None:
    options = ["--max-attempts", "7", "--timeout", "2m", "--tag", "a", "--tag", "b", "--delay", "1h", "--queue", "bulk"]

    changed = run("jobs", "change", job, *options, "--payload", '{"text": "Another."}')

    assert (changed.code, changed.out) == (0, f"{job}  changed\n")
    found = look(run, job)
    assert {name: found[name] for name in ("max_attempts", "timeout_seconds", "tags", "queue", "payload")} == {
        "max_attempts": 7, "timeout_seconds": 120, "tags": ["a", "b"], "queue": "bulk", "payload": {"text": "Another."},
    }  # fmt: skip
    assert run("jobs", "change", str(fail("no luck").id), "--priority", "5").code == 1
    assert run("jobs", "change", job, "--payload", "{}").code == 1
    assert run("jobs", "change", job).code == 2


def test_copies_a_job_with_changes(run: Run, job: str) -> None:
    run("jobs", "cancel", job)

    copied = run("jobs", "copy", job, "--priority", "9", "--tag", "again")

    assert copied.code == 0
    copy = look(run, copied.out.strip())
    assert (copy["copy_of"], copy["status"], copy["priority"], copy["tags"]) == (job, "queued", 9, ["again"])
    assert copy["payload"] == json.loads(SUMMARY)
    assert run("jobs", "copy", ABSENT).code == 3


def test_deletes_what_has_ended_and_nothing_else(run: Run, job: str, fail: Fail) -> None:
    failed = str(fail("no luck").id)

    deleted, live = run("jobs", "delete", failed), run("jobs", "delete", job, "--json")

    assert (deleted.code, deleted.out) == (0, f"{failed}  deleted\n")
    assert (live.code, live.out) == (1, "")
    assert run("jobs", "show", failed).code == 3


def test_asks_before_a_delete_if_the_profile_says_so(run: Run, fail: Fail, server, home) -> None:
    run("login", "--url", server.url, "--profile", "careful", "--confirm", input="key")
    failed = str(fail("no luck").id)

    asked = run("jobs", "delete", failed, "--profile", "careful")
    sure = run("jobs", "delete", failed, "--profile", "careful", "--yes")

    assert (asked.code, sure.code) == (2, 0)
    assert asked.err == (
        f"haulier: Delete 1 jobs permanently on {server.url}? There is no terminal to ask on: use --yes to confirm\n"
    )


def test_does_nothing_if_it_is_not_clear_to_which_jobs(run: Run, job: str) -> None:
    expected = dict.fromkeys(
        [
            ("cancel",),
            ("cancel", "--status", "queued"),
            ("cancel", ABSENT, "--status", "queued"),
            ("cancel", ABSENT, "--all"),
            ("cancel", ABSENT, "--dry-run"),
            ("cancel", "--everything"),
            ("cancel", "--all", "--yes"),
            ("cancel", "--all", "--everything", "--kind", "mail", "--yes"),
            ("retry", ABSENT, "--spread", "1h"),
            ("move", ABSENT),
        ],
        "",
    )

    assert not_refused(run, {("jobs", *args): said for args, said in expected.items()}) == {}
    assert look(run, job)["status"] == "queued"
