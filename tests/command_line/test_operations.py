"""`haulier jobs … --all` and `haulier ops`: it ..."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.command_line.conftest import ABSENT, SUMMARY, Run, Terminal
from tests.conftest import PATIENCE, Sql, eventually
from tests.web import Server


@pytest.fixture
def ten(run: Run) -> list[str]:
    """Give the ids of ten jobs that wait, three of them in another queue."""
    queues = ["mail"] * 7 + ["bulk"] * 3
    return [run("enqueue", "summarize_text", SUMMARY, "--queue", queue).out.strip() for queue in queues]


def waiting(run: Run, *options: str) -> int:
    return len(run("jobs", "list", "--status", "queued", "--json", *options).lines)


def test_previews_and_does_nothing(run: Run, ten: list[str]) -> None:
    preview = run("jobs", "cancel", "--queue", "mail", "--all", "--dry-run")
    as_json = run("jobs", "cancel", "--queue", "mail", "--all", "--dry-run", "--json").json

    assert preview.code == 0
    assert re.match(r"7 jobs match: summarize_text 7, as of \S+; the newest:\nID ", preview.out)
    assert [row[0] for row in preview.rows[1:]] == ten[6:1:-1]
    assert (as_json["matched"], as_json["matched_is"]) == (7, "exact")
    assert waiting(run) == 10


def test_does_each_act_to_all_of_the_filter_and_to_no_other(run: Run, ten: list[str]) -> None:
    cancelled = run("jobs", "cancel", "--queue", "mail", "--all", "--yes")
    changes = ("--max-attempts", "5", "--timeout", "2m", "--to-priority", "3")
    retried = run("jobs", "retry", "--status", "cancelled", "--all", "--yes", "--json", *changes)
    none = run("jobs", "cancel", "--queue", "absent", "--all", "--yes")

    assert (cancelled.code, cancelled.out) == (0, "7 cancelled\n")
    assert {name: retried.json[name] for name in ("action", "status", "done", "skipped", "failed")} == {
        "action": "retry", "status": "done", "done": 7, "skipped": 0, "failed": 0,
    }  # fmt: skip
    named = {
        (job["max_attempts"], job["timeout_seconds"], job["priority"])
        for job in run("jobs", "list", "--queue", "mail", "--json").lines
    }
    assert named == {(5, 120, 3)}
    assert (none.code, none.out) == (0, "no job matches\n")
    assert waiting(run) == 10
    run("jobs", "move", "--queue", "bulk", "--all", "--yes", "--to", "other")
    run("jobs", "priority", "--queue", "other", "--all", "--yes", "--to", "-7")
    spread = run("jobs", "run-now", "--everything", "--all", "--yes", "--spread", "1h")
    others = run("jobs", "list", "--queue", "other", "--json").lines
    assert [job["priority"] for job in others] == [-7] * 3
    assert (spread.code, spread.out) == (0, "10 changed\n")
    run("jobs", "cancel", "--queue", "other", "--all", "--yes")
    assert run("jobs", "delete", "--status", "cancelled", "--all", "--yes").out == "3 deleted\n"
    assert len(run("jobs", "list", "--json").lines) == 7


def test_refuses_to_act_without_a_terminal_to_ask_in(run: Run, ten: list[str], server: Server) -> None:
    refused = run("jobs", "cancel", "--queue", "mail", "--all", input="y\n")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"haulier: 7 jobs match: summarize_text 7. Cancel them on {server.url}? There is no terminal to ask on: use"
        " --yes to confirm\n"
    )
    assert waiting(run) == 10


def test_asks_in_a_terminal_and_acts_only_on_counted_jobs(run: Run, ten: list[str], server: Server, home: Path) -> None:
    for answer, code in (("n\r", 1), ("y\r", 0)):
        terminal = Terminal(server, home, "jobs", "cancel", "--queue", "mail", "--all")
        eventually(lambda: "[y/N]" in terminal.read())  # noqa: B023
        assert waiting(run) == 10
        if code == 0:
            run("enqueue", "summarize_text", SUMMARY, "--queue", "mail")
        terminal.press(answer)
        shown = terminal.end(code)

    assert f"7 jobs match: summarize_text 7. Cancel them on {server.url}? [y/N]" in shown
    assert "7 cancelled" in shown
    assert waiting(run) == 4


def test_leaves_an_operation_at_work_and_goes_back_to_it(run: Run, ten: list[str]) -> None:
    started = run("jobs", "cancel", "--queue", "mail", "--all", "--yes", "--no-wait")

    operation = started.out.strip()
    assert re.fullmatch("[0-9a-f-]{36}", operation)
    watched = run("ops", "watch", operation)
    assert (watched.code, watched.out) == (0, "7 cancelled\n")
    assert run("ops", "show", operation, "--json").json["done"] == 7
    [row] = run("ops", "list").rows
    assert row[:7] == [operation, "done", "cancel", "7", "7", "0", "0"]
    assert run("ops", "cancel", operation).code == 1
    assert run("ops", "show", ABSENT).code == 3


def test_stops_an_operation_and_goes_on_with_it(run: Run, ten: list[str]) -> None:
    started = run("jobs", "cancel", "--queue", "mail", "--all", "--yes", "--no-wait").out.strip()

    stopped = run("ops", "cancel", started, "--json").json
    half = run("ops", "watch", started)
    resumed = run("ops", "resume", started)
    whole = run("ops", "watch", started)

    assert stopped["status"] == "cancelled"
    assert (half.code, half.out) == (6, "0 cancelled, then the operation was cancelled\n")
    assert resumed.code == 0
    assert (whole.code, whole.out) == (0, "7 cancelled\n")


def test_skips_what_has_changed_meanwhile_and_says_so(run: Run, ten: list[str]) -> None:
    started = run("jobs", "cancel", "--queue", "mail", "--all", "--yes", "--no-wait").out.strip()
    run("jobs", "cancel", *ten[:2])

    watched = run("ops", "watch", started)

    assert (watched.code, watched.out) == (0, "5 cancelled, 2 skipped because they had changed\n")


def test_watches_what_its_key_may_not_do(run: Run, start, run_gunicorn, database: str, ten: list[str]) -> None:
    delete = ("jobs", "delete", "--queue", "mail", "--all", "--yes")
    with run_gunicorn(database, HAULIER_API_KEY="k" * 40) as closed:
        admin = {"HAULIER_URL": closed.url, "HAULIER_API_KEY": "k" * 40}
        made = run("keys", "create", "--name", "ann", "--scopes", "operate", DATABASE_URL=database).out.strip()
        operator = {"HAULIER_URL": closed.url, "HAULIER_API_KEY": made}
        run("jobs", "cancel", "--queue", "mail", "--all", "--yes", **admin)
        deleting = run(*delete, "--no-wait", **admin).out.strip()
        refused = run(*delete, **operator)
        with start("-v", "ops", "watch", deleting, **operator) as watching:
            # It asks how far it is, once it was refused to do some of it.
            while f"> GET {closed.url}/operations/{deleting}\n" not in (watching.stderr.readline(),):
                assert watching.poll() is None
            while "403" not in watching.stderr.readline():
                assert watching.poll() is None
            run("ops", "cancel", deleting, **operator)
            out, _ = watching.communicate(timeout=PATIENCE)

    assert (refused.code, watching.returncode) == (4, 6)
    assert out == "0 deleted, then the operation was cancelled\n"


def test_says_at_ctrl_c_that_the_operation_goes_on(start, run: Run, sql: Sql) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload, run_at) SELECT 'mail', '{}', now() + interval '1 day'"
        " FROM generate_series(1, 4000)"
    )
    with start("jobs", "cancel", "--kind", "mail", "--all", "--yes") as interrupted:
        eventually(lambda: [each for each in run("ops", "list", "--json").lines if each["done"]])
        interrupted.send_signal(signal.SIGINT)
        code, said = interrupted.wait(PATIENCE), interrupted.stderr.read()

    [operation] = run("ops", "list", "--json").lines
    assert code == 130
    assert said.strip() == f"haulier: the operation {operation['id']} continues: haulier ops watch {operation['id']}"
    assert run("ops", "watch", operation["id"]).out == "4,000 cancelled\n"
