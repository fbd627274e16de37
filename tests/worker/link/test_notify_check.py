"""Whether a worker hears: it ..."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from haulier.postgres.scratch import url_of
from haulier.worker.link.notify_check import LOST_SECONDS, NotifyCheck
from lab.proxy import proxy_to
from tests.conftest import eventually
from tests.worker.conftest import Clock


@pytest.fixture
def notify_check(clock: Clock) -> NotifyCheck:
    return NotifyCheck(clock=clock)


def test_misses_nothing_before_it_was_called(notify_check, clock):
    notify_check.ask()
    clock.now += 100

    assert not notify_check.is_missing
    assert notify_check.wanted is not None


def test_misses_the_call_some_time_after_it(notify_check, clock):
    notify_check.ask()
    notify_check.called(notify_check.wanted)

    clock.now += LOST_SECONDS - 0.1
    soon = notify_check.is_missing
    clock.now += 0.2

    assert (soon, notify_check.is_missing, notify_check.wanted) == (False, True, None)


def test_misses_nothing_once_it_was_heard(notify_check, clock):
    notify_check.ask()
    notify_check.called(notify_check.wanted)
    notify_check.heard()

    clock.now += 100

    assert not notify_check.is_missing


def test_does_not_take_an_earlier_call_for_the_one_it_asked_for(notify_check, clock):
    notify_check.ask()
    earlier = notify_check.wanted
    notify_check.ask()
    notify_check.called(earlier)
    clock.now += 100

    assert not notify_check.is_missing
    assert notify_check.wanted not in (None, earlier)


@pytest.fixture
def health_of() -> Callable[[int], tuple[int, dict[str, str]]]:
    """Give a function that asks a worker's port how it is, and returns status and body."""

    def health_of(port: int) -> tuple[int, dict[str, str]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError:
            return 0, {}

    return health_of


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("setting", ["DATABASE_URL", "DATABASE_DIRECT_URL"])
def test_says_that_it_listens_and_where(
    spawn_worker, database, direct, free_port, health_of, metric, setting, processes
):
    urls = {"DATABASE_URL": direct(database), "DATABASE_DIRECT_URL": "", setting: direct(database)}
    spawn_worker(WORKER_METRICS_PORT=free_port, WORKER_PROCESSES=processes, **urls)

    listens = {"status": "ok", "scans": "ok", "wake_ups": "listening", "through": setting}
    eventually(lambda: health_of(free_port) == (200, listens))
    assert metric(free_port, "worker_polling") == 0
    assert metric(free_port, "worker_through_direct_url") == (setting == "DATABASE_DIRECT_URL")


def test_says_that_wake_ups_are_off(spawn_worker, free_port, health_of, metric):
    spawn_worker(WORKER_METRICS_PORT=free_port, WAKE_UPS="off")

    eventually(lambda: health_of(free_port) == (200, {"status": "ok", "scans": "ok", "wake_ups": "off"}))
    assert metric(free_port, "worker_polling") == 1
    assert metric(free_port, "worker_through_direct_url") == 0


def test_is_ill_when_its_database_has_been_away_for_a_lease(spawn_worker, free_port, health_of, database, direct):
    with proxy_to(direct(database)) as proxy:
        spawn_worker(DATABASE_URL=proxy.url, DATABASE_DIRECT_URL="", WORKER_METRICS_PORT=free_port, LEASE_SECONDS=1)
        well = {"status": "ok", "scans": "ok", "wake_ups": "listening", "through": "DATABASE_URL"}
        ill = {"status": "unavailable", "scans": "failing", "wake_ups": "polling", "through": "DATABASE_URL"}
        eventually(lambda: health_of(free_port) == (200, well))

        proxy.go_away()

        eventually(lambda: health_of(free_port) == (503, ill))
        proxy.come_back()
        eventually(lambda: health_of(free_port) == (200, well))


def test_finds_jobs_by_looking_if_no_notification_comes(
    spawn_worker, database, direct, free_port, health_of, metric, conn, enqueue, finished
):
    # A notification stays within its database; to listen in another one is as good as listening to a pool.
    elsewhere = url_of(direct(database), "postgres")

    worker = spawn_worker(DATABASE_DIRECT_URL=elsewhere, WORKER_METRICS_PORT=free_port, POLL_SECONDS=0.2)

    eventually(lambda: "no notification comes through DATABASE_DIRECT_URL" in worker.log)
    assert "looking, every 0.2 s" in worker.log
    looks = {"status": "ok", "scans": "ok", "wake_ups": "polling", "through": "DATABASE_DIRECT_URL"}
    eventually(lambda: health_of(free_port) == (200, looks))
    assert metric(free_port, "worker_polling") == 1
    assert metric(free_port, "worker_through_direct_url") == 1
    assert sleepers(conn) == 0
    finished(enqueue("t.note"))
    assert sleepers(conn) == 0


def test_finds_jobs_by_looking_if_the_direct_address_does_not_answer(spawn_worker, enqueue, finished, conn):
    worker = spawn_worker(DATABASE_DIRECT_URL="postgresql://u:swordfish@127.0.0.1:1/x", POLL_SECONDS=0.2)

    eventually(lambda: "DATABASE_DIRECT_URL cannot be reached" in worker.log)
    finished(enqueue("t.note"))
    assert sleepers(conn) == 0
    assert "the database is away" not in worker.log
    assert "swordfish" not in worker.log


def test_does_not_start_with_a_direct_address_that_cannot_be_read(spawn_worker):
    worker = spawn_worker(DATABASE_DIRECT_URL="postgres://u:sword%fish@127.0.0.1/x", wait=False)

    assert worker.wait() == 1
    assert worker.log.strip() == "haulier worker: DATABASE_DIRECT_URL cannot be read as a connection string"


def sleepers(conn: Any) -> int:
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.sleeper")
        [count] = cursor.fetchone()
    return count
