"""`haulier jobs`, also `watch` and `tail`: it ..."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any
from uuid import uuid4

from psycopg2.extensions import connection as Connection

from haulier.queue import claims
from tests import queueing
from tests.api.conftest import Fail
from tests.command_line.conftest import ABSENT, SUMMARY, Run, not_refused
from tests.conftest import PATIENCE, Sql, eventually
from tests.docs.stack import _worker as worker
from tests.queue.schedules.schedules import plant


def test_lists_jobs_as_a_table_whose_columns_are_whole(run: Run, fail: Fail) -> None:
    failed = fail("no luck: " + "and so on " * 30)
    queued = run("enqueue", "summarize_text", SUMMARY, "--queue", "bulk").out.strip()

    listed = run("jobs", "list")

    assert listed.code == 0
    head, first, second = listed.out.splitlines()
    assert head.split("  ")[0] == "ID"
    assert first.split()[:4] == [queued, "queued", "summarize_text", "bulk"]
    assert second.split()[:7] == [str(failed.id), "failed_permanent", "mail", "default", "1", "of", "3"]
    assert second.endswith("and so on ".rstrip())
    assert "\x1b" not in listed.out


def test_lists_as_many_jobs_as_are_asked_for_as_the_api_answers(run: Run, sql: Sql) -> None:
    made = [run("enqueue", "summarize_text", SUMMARY).out.strip() for _ in range(3)]

    listed = run("jobs", "list", "--json", "--limit", "2")

    assert [job["id"] for job in listed.lines] == made[:0:-1]
    assert listed.lines[0]["payload"] == json.loads(SUMMARY)
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 247)")
    assert [len(run("jobs", "list", "--json", "--limit", most).lines) for most in ("230", "1000")] == [230, 250]


def test_lists_ids_for_another_command(run: Run, sql: Sql) -> None:
    # Its payload has an id too.
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{\"id\": \"x\"}' FROM generate_series(1, 3)")

    listed = run("jobs", "list", "--ids")
    cancelled = run("jobs", "cancel", "-", input=listed.out)

    assert listed.out.splitlines() == [job["id"] for job in run("jobs", "list", "--json").lines]
    assert (cancelled.code, len(cancelled.out.splitlines())) == (0, 3)


def test_shows_no_error_of_a_job_that_has_succeeded_since(run: Run, fail: Fail, sql: Sql) -> None:
    fail("no luck")
    failed = run("jobs", "list").out
    sql("UPDATE haulier.finished_job SET status = 'succeeded'")

    assert "no luck" in failed
    assert "no luck" not in run("jobs", "list").out


def test_filters_by_all_that_the_api_knows(run: Run, fail: Fail, sql: Sql) -> None:
    failed = str(fail("no luck 4711", payload={"order": {"id": 7}}).id)
    other = run("enqueue", "summarize_text", SUMMARY, "--tag", "rare", "--queue", "bulk", "--key", "k1").out.strip()

    def found(*options: str) -> list[str]:
        listed = run("jobs", "list", "--json", *options)
        assert listed.code == 0, listed.err
        return [job["id"] for job in listed.lines]

    assert found("--status", "failed") == found("--status", "failed_permanent") == [failed]
    assert found("--kind", "mail", "--kind", "other") == [failed]
    assert found("--queue", "bulk") == found("--tag", "rare") == found("--key", "k1") == [other]
    assert found("--payload", "order.id=7") == found("--attempts-min", "1") == [failed]
    assert found("--error", "no luck") == [failed]
    assert found("--after", "1h") == [other, failed]
    assert found("--before", "1h") == found("--after", "2099-01-01") == []
    assert found("--finished-after", "1h") == [failed]
    assert found("--finished-before", "2026-01-01T00:00:00Z") == found("--worker", ABSENT) == []


def test_lists_what_of_a_queue_runs_next_and_what_has_run_longest(run: Run, conn: Connection) -> None:
    made = [run("enqueue", "summarize_text", SUMMARY, "--priority", str(each)).out.strip() for each in (0, 5, 2, 0)]
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=1)

    next_ = run("jobs", "list", "--json", "--sort", "due", "--queue", "default")
    longest = run("jobs", "list", "--json", "--sort", "started")
    refused = [
        run("jobs", "list", "--sort", *each)
        for each in (("due",), ("started", "--status", "queued"), ("started", "--limit", "201"))
    ]

    assert [str(job.id) for job in claimed] == [made[1]] == [job["id"] for job in longest.lines]
    assert [job["id"] for job in next_.lines] == [made[2], made[0], made[3]]
    assert [each.code for each in refused] == [1, 1, 2]
    assert "one queue" in refused[0].err
    assert "at most 200" in refused[2].err


def test_says_which_groups_of_errors_it_could_mean(run: Run, fail: Fail) -> None:
    fail("no luck")
    fail("no luck at all")

    several, none = run("jobs", "list", "--error", "luck"), run("jobs", "list", "--error", "bad")

    assert (several.code, none.code) == (2, 3)
    assert re.search(r"several error groups have luck in their text or example: [0-9a-f]{16} no luck", several.err)
    assert none.err == "haulier: no error group of the last 30 days has bad in its text or example\n"


def test_counts_jobs(run: Run, job: str) -> None:
    counted = run("jobs", "count", "--kind", "summarize_text", "--key", "absent")

    assert (counted.code, counted.out) == (0, "0\n")
    assert run("jobs", "count", "--tag", "x", "--json").json.keys() == {"count", "is_exact", "at"}


def test_shows_why_a_job_waits(run: Run, job: str) -> None:
    waits = run("jobs", "show", job)

    assert waits.code == 0
    assert waits.out.startswith(f"summarize_text  queued  0 of 3 attempts\n{job}  queue default  key cli-")
    assert re.search(r"^waits +no .*worker", waits.out, re.MULTILINE), waits.out
    assert re.search(r"Z  enqueued\n.*Z  waited for a worker\n", waits.out)
    assert f"payload     {json.dumps(json.loads(SUMMARY))}\n" in waits.out
    assert run("jobs", "show", job, "--json").json["id"] == job


def test_shows_what_happened_to_a_job(run: Run, fail: Fail) -> None:
    failed = run("jobs", "show", str(fail("no luck\nat all").id))

    assert re.search(
        r"Z  waited \d+ ms for a worker\n.*Z  attempt 1 began on dock:7\n.*Z  attempt 1 failed on dock:7  ran \d+ ms\n",
        failed.out,
    )
    assert "            no luck\n            at all\n" in failed.out
    assert re.search(r"Z  failed permanently\n", failed.out)


def test_cancels_and_retries_jobs(run: Run, job: str) -> None:
    cancelled, retried = run("jobs", "cancel", job), run("jobs", "retry", job)

    assert (cancelled.code, cancelled.out) == (0, f"{job}  cancelled\n")
    assert (retried.code, retried.out) == (0, f"{job}  queued again\n")
    assert run("jobs", "cancel", job, "--json").json == {"status": "cancelled", "job_id": job}
    assert run("jobs", "retry", job, "--to-queue", "bulk", "--max-attempts", "5").code == 0
    assert [look(run, job)[name] for name in ("queue", "max_attempts", "priority")] == ["bulk", 5, 0]
    queued = [run("enqueue", "summarize_text", SUMMARY).out.strip() for _ in range(2)]
    by_stdin = run("jobs", "cancel", "-", input="\n".join(queued))
    assert by_stdin.out == "".join(f"{each}  cancelled\n" for each in queued)
    assert run("jobs", "cancel", "-", input="").code == 2


def test_goes_on_after_one_that_is_refused_and_says_so_by_its_code(run: Run, job: str, server) -> None:
    host = server.url.removeprefix("http://")

    in_part, none = run("jobs", "cancel", ABSENT, job), run("jobs", "cancel", ABSENT, job)

    assert (in_part.code, in_part.out) == (6, f"{job}  cancelled\n")
    assert re.fullmatch(rf"haulier: {host}: job {ABSENT} not found \(request \S+\)\n", in_part.err)
    assert none.code == 6
    assert [line.split(" (")[0] for line in none.err.splitlines()] == [
        f"haulier: {host}: job {ABSENT} not found",
        f"haulier: {host} refuses: cannot cancel job {job}: its status is cancelled",
    ]
    assert run("jobs", "cancel", ABSENT).code == 3
    assert run("jobs", "retry", run("enqueue", "summarize_text", SUMMARY).out.strip()).code == 1


def test_shows_of_which_tick_a_job_is_and_how_late_that_was(run: Run, sql: Sql, job: str) -> None:
    plant(sql, seconds_ago=30, every_seconds=20)
    sql(
        "SELECT haulier.fire_ticks('{nightly}', ARRAY(SELECT counts_from + interval '20 s' FROM haulier.schedule),"
        " '{fired}')"
    )
    [(job_id,)] = sql("SELECT id::text FROM haulier.job WHERE schedule = 'nightly'")

    shown, other = run("jobs", "show", job_id), run("jobs", "show", job)

    assert "schedule" not in other.out
    assert re.search(r"^tick of \S+Z of the schedule nightly$", shown.out, re.MULTILINE)
    assert re.search(r"Z  enqueued by the schedule nightly, 1\d s after its tick\n", shown.out)


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


def test_watches_jobs_until_all_have_ended(run: Run, database: str) -> None:
    ids = [run("enqueue", "summarize_text", SUMMARY, "--delay", delay).out.strip() for delay in ("0s", "1s")]

    with worker(database):
        watched = run("jobs", "watch", *ids, "--wait", "20s")
        again = run("jobs", "watch", *ids, "--json")

    assert watched.code == again.code == 0
    steps = [line.split()[1:3] for line in watched.out.splitlines()]
    for job in ids:
        assert [step for each, step in steps if each == job][0] == "queued"
        assert [step for each, step in steps if each == job][-1] == "succeeded"
    assert sorted(job["id"] for job in again.lines) == sorted(ids)


def test_exits_with_a_code_for_how_jobs_have_ended(run: Run, fail: Fail, job: str) -> None:
    failed = str(fail("no luck\x1b\nat all").id)
    waits = run("jobs", "watch", failed, job, "--wait", "0.2s")
    run("jobs", "cancel", job)
    cancelled, both = run("jobs", "watch", job), run("jobs", "watch", job, failed)

    assert (waits.code, cancelled.code, both.code) == (124, 8, 7)
    assert waits.err == f"haulier: not ended after 200 ms: {job}\n"
    assert r"no luck\x1b" in both.out
    assert both.out.count("\n") == 2
    assert run("jobs", "watch", ABSENT).code == 3


@contextmanager
def tailing(start: Callable[..., Popen[str]], *options: str) -> Iterator[list[str]]:
    """Give the lines that `haulier jobs tail` prints until Ctrl-C, at which it ends."""
    lines: list[str] = []
    with start("jobs", "tail", "--every", "0.1", *options) as tail:
        reading = threading.Thread(target=lambda: lines.extend(tail.stdout or ()), daemon=True)
        reading.start()
        yield lines
        tail.send_signal(signal.SIGINT)
        assert (tail.wait(PATIENCE), tail.stderr.read().strip()) == (130, "")
        reading.join()


def test_shows_what_ends_as_it_does_and_nothing_twice(start, run: Run, fail: Fail) -> None:
    before = str(fail("before").id)
    with tailing(start, "--kind", "mail", "--json") as found:
        # It has begun to look once it shows something.
        made = [str(fail("first").id)]
        eventually(lambda: found or made.append(str(fail("more").id)))
        made.append(str(fail("last").id))
        run("jobs", "cancel", run("enqueue", "summarize_text", SUMMARY).out.strip())
        eventually(lambda: any(made[-1] in line for line in found))

    jobs = [json.loads(line) for line in found]
    shown = [job["id"] for job in jobs]
    assert len(jobs) == len({(job["id"], job["status"]) for job in jobs})
    assert set(shown) <= set(made)
    assert before not in shown
    assert made[-1] in shown


def test_shows_what_runs_once_it_has_begun(start, run: Run, conn) -> None:
    with tailing(start) as found:
        me = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)

        def begun() -> bool:
            run("enqueue", "summarize_text", SUMMARY)
            queueing.claim(conn, worker_id=me, claim_id=uuid4(), queues=())
            return bool(found)

        eventually(begun)

    assert found[0].split()[2:] == ["running", "summarize_text", "default", "attempt", "1"]


def test_ends_after_the_time_that_is_said(run: Run) -> None:
    ended = run("jobs", "tail", "--for", "0.3s", "--every", "0.1")

    assert (ended.code, ended.out) == (0, "")
    assert run("jobs", "tail", "--finished-after", "1h").code == 2
