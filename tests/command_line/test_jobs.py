"""`haulier jobs`: it ..."""

from __future__ import annotations

import json
import re
from uuid import uuid4

from psycopg2.extensions import connection as Connection

from haulier.queue import claims
from tests import queueing
from tests.api.conftest import Fail
from tests.command_line.conftest import ABSENT, SUMMARY, Run
from tests.conftest import Sql
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
