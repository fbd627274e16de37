"""The look for jobs in lanes that are new to a worker, if there are more lanes than one look reads: it ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

import pytest
import requests

from app.api import build
from haulier.config import Config
from haulier.domain.errors import Refusal
from haulier.postgres.pool import Database
from haulier.queue import claims
from haulier.queue.claims.lanes import LOOK_SECONDS
from haulier.queue.rows import ClaimedJob
from haulier.version import version
from haulier.worker.lanes.marks import Marks
from haulier.worker.lanes.scan import Scanner
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.worker.jobs import a_worker

# So many lanes, and so many of them in one look.
LANES, AT_ONCE = 400, 50


def flood(sql, count: int = LANES) -> None:
    """Enqueue deferred jobs, each in a lane of its own, some days ago."""
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, created_at)"
        " SELECT 'mail', '{}', 'flood.' || n / 2, mod(n, 2), now() + interval '1 day', now() - interval '3 days'"
        " FROM generate_series(1, %s) AS n",
        count,
    )


def enqueue(sql, queue: str, due_in: float = 0.0, created: float = 0.0, priority: int = 0) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, created_at)"
        " VALUES ('mail', '{}', %s, %s, now() + make_interval(secs => %s), now() - make_interval(secs => %s))",
        queue, priority, due_in, created,
    )  # fmt: skip


@pytest.fixture
def scanner(config: Config, request: pytest.FixtureRequest) -> Iterator[Scanner]:
    scanner = Scanner(Database(config.database_url), Marks(), getattr(request, "param", ()))
    scanner.marks.most = AT_ONCE
    yield scanner
    scanner.database.close()


# A worker of all queues, and one of all these by their names.
all_queues_or_named = pytest.mark.parametrize(
    "scanner",
    [(), ("many", *(f"flood.{n}" for n in range(LANES)), "zebra")],
    ids=["all queues", "named"],
    indirect=True,
)


def look(scanner: Scanner, times: int = 1) -> list[tuple[str, int]]:
    """Look so often, and return the lanes to claim from then."""
    for _ in range(times):
        scanner.scan()
        scanner.marks.most = AT_ONCE
    return [mark.lane for mark in scanner.marks.marks()]


@contextmanager
def failing(sql) -> Iterator[None]:
    """Have the database refuse each look of the block."""
    sql("ALTER TABLE haulier.job RENAME COLUMN created_at TO elsewhere")
    try:
        with pytest.raises(Refusal):
            yield
    finally:
        sql("ALTER TABLE haulier.job RENAME COLUMN elsewhere TO created_at")


@pytest.fixture
def claim(scanner) -> Callable[..., list[ClaimedJob]]:
    """Give a function that claims so many jobs of this queue for the scanner's worker."""

    def claim(queue: str, *, limit: int = 1, is_short: bool) -> list[ClaimedJob]:
        with scanner.database.connection() as conn:
            worker = a_worker(conn)
            jobs = queueing.claim(conn, worker_id=worker, claim_id=worker, queues=(queue,), limit=limit)
        scanner.marks.claimed(jobs, is_short=is_short, read=scanner.marks.marks())
        return jobs

    return claim


def test_reads_so_many_lanes_and_goes_on_behind_them_until_it_has_been_round(conn, sql):
    flood(sql)
    lanes, place = [], claims.stretch(conn, queues=(), limit=AT_ONCE)

    for _ in range(LANES // AT_ONCE):
        assert len(place.lanes) == AT_ONCE
        lanes += [each.head.lane for each in place.lanes]
        place = claims.stretch(conn, queues=(), limit=AT_ONCE, after=place.end)

    assert place == ([], None)
    assert lanes == sql("SELECT queue, priority FROM haulier.job ORDER BY queue, priority DESC")


def test_ends_after_its_time_and_says_where(conn, sql, monkeypatch):
    flood(sql)
    monkeypatch.setattr(import_module("haulier.queue.claims.lanes"), "LOOK_SECONDS", LOOK_SECONDS / 1e6)

    first = claims.stretch(conn, queues=())
    second = claims.stretch(conn, queues=(), after=first.end)

    assert [len(first.lanes), len(second.lanes)] == [1, 1]
    assert first.lanes[0].head.lane == first.end != second.end


def test_counts_the_seconds_until_a_job_is_due_from_its_own_end(conn, sql):
    enqueue(sql, "default", due_in=60.0)
    [[due_in]] = sql("SELECT extract(epoch FROM min(run_at) - now())::double precision FROM haulier.job")

    # A scan in a transaction has begun when the transaction has.
    sql("BEGIN; SELECT pg_sleep(0.05)")
    [lane] = claims.stretch(conn, queues=()).lanes
    sql("COMMIT")

    assert lane.seconds <= due_in - 0.05


@all_queues_or_named
def test_finds_a_new_job_with_its_next_look_wherever_its_lane_is(scanner, sql):
    flood(sql)
    look(scanner, 2)

    enqueue(sql, "zebra", priority=-7)

    assert look(scanner) == [("zebra", -7)]


@all_queues_or_named
def test_finds_a_new_job_between_scans_beside_any_number_of_lanes(scanner, sql):
    for count in (10, 90, 300):
        flood(sql, count)
        scanner.scan()
        before = scanner.scan_new()
        sql("SELECT haulier.pause_queue('zebra', NULL, NULL)")
        enqueue(sql, "zebra")
        while_paused = scanner.scan_new()
        sql("SELECT haulier.resume_queue('zebra', NULL)")
        enqueue(sql, "many")

        found = scanner.scan_new()

        assert (before, while_paused, found) == (False, False, True)
        assert {("many", 0), ("zebra", 0)} <= {mark.lane for mark in scanner.marks.marks()}
        sql("DELETE FROM haulier.job WHERE queue IN ('many', 'zebra')")


@pytest.mark.parametrize("scanner", [("mail",)], indirect=True)
def test_finds_only_new_jobs_of_its_own_queues(scanner, sql):
    enqueue(sql, "bulk")
    others = scanner.scan_new()
    enqueue(sql, "mail")

    assert (others, scanner.scan_new()) == (False, True)
    assert [mark.lane for mark in scanner.marks.marks()] == [("mail", 0)]


def test_moves_a_mark_back_only_for_a_new_job_before_it(scanner, claim, sql):
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'mail', '{}', 'many' FROM generate_series(1, 3)")
    scanner.scan()
    claim("many", limit=2, is_short=False)
    [claimed] = scanner.marks.marks()

    scanner.scan_new()
    same_time = scanner.marks.marks()
    enqueue(sql, "many", due_in=-1.0)
    scanner.scan_new()

    assert same_time == [claimed]
    [mark] = scanner.marks.marks()
    assert mark.run_at < claimed.run_at


@all_queues_or_named
def test_finds_an_old_job_by_going_round(scanner, sql):
    flood(sql)
    look(scanner, 2)

    enqueue(sql, "zebra", created=3600.0)
    at_once = look(scanner)

    assert at_once == []
    assert look(scanner, LANES // AT_ONCE) == [("zebra", 0)]


def test_finds_what_is_due_anew_in_a_lane_that_lately_had_something(scanner, claim, sql):
    flood(sql)
    enqueue(sql, "zebra")
    look(scanner, 2)
    [job] = claim("zebra", is_short=True)

    # As a retry: its place is before the mark, and it came long ago.
    enqueue(sql, "zebra", due_in=-3600.0, created=86400.0)
    look(scanner)

    [mark] = scanner.marks.marks()
    assert mark.run_at < job.run_at


def test_an_error_reads_less_and_is_told_until_a_look_has_succeeded(scanner, sql):
    flood(sql)
    look(scanner, 2)
    with failing(sql):
        scanner.scan()
    meanwhile = (scanner.marks.seconds_failing > 0, scanner.marks.most)
    look(scanner)
    afterwards = scanner.marks.seconds_failing
    with failing(sql):
        scanner.scan_new()

    assert (meanwhile, afterwards) == ((True, 100), 0)
    assert scanner.marks.seconds_failing > 0


@pytest.mark.direct("is about roles and their own connections; a pool has one role for all")
def test_health_says_when_looks_fail_though_claims_succeed(super_conn, roles, spawn_worker, free_port):
    sql, app = sql_on(super_conn), build(Config(database_url=roles.web))
    spawn_worker(DATABASE_URL=roles.worker, DATABASE_DIRECT_URL="", WORKER_METRICS_PORT=free_port, LEASE_SECONDS=1)

    def worker() -> tuple[int, str, str]:
        answer = requests.get(f"http://127.0.0.1:{free_port}/health", timeout=5)
        return answer.status_code, answer.json()["status"], answer.json()["scans"]

    def api() -> object:
        return app.test_client().get("/health").json

    eventually(lambda: worker() == (200, "ok", "ok"))
    well = api()
    # A look asks it how long it has taken, and nothing else does.
    sql("REVOKE EXECUTE ON FUNCTION pg_catalog.clock_timestamp() FROM PUBLIC")
    eventually(lambda: worker() == (503, "unavailable", "failing"))
    warned = eventually(lambda: (api() or {}).get("warnings"))
    gauges = app.test_client().get("/metrics").text
    sql("GRANT EXECUTE ON FUNCTION pg_catalog.clock_timestamp() TO PUBLIC")
    eventually(lambda: worker() == (200, "ok", "ok"))
    eventually(lambda: api() == well)
    app.extensions["haulier"].database.close()

    assert well == {"status": "ok", "version": version()}
    assert "1 worker cannot look for new jobs" in warned[0]
    assert "haulier_workers_without_scans 1.0" in gauges
