"""Whether a worker hears: it ..."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from haulier.postgres.scratch import url_of
from haulier.worker.link.notify_check import LOST_SECONDS, NotifyCheck
from lab.proxy import proxy_to
from tests.conftest import eventually
from tests.worker.conftest import Clock


@pytest.fixture
def notify_check(clock: Clock) -> NotifyCheck:
    return NotifyCheck(clock=clock)


def test_misses_a_call_some_time_after_it_unless_it_was_heard(notify_check, clock):
    def is_missing_after(seconds: float) -> bool:
        clock.now += seconds
        return notify_check.is_missing

    notify_check.ask()
    missing = [is_missing_after(100)]
    asked = notify_check.wanted
    notify_check.called(asked)
    missing += [is_missing_after(LOST_SECONDS - 0.1), is_missing_after(0.2)]
    wanted_then = notify_check.wanted
    notify_check.heard()

    assert [*missing, is_missing_after(100)] == [False, False, True, False]
    assert (asked is None, wanted_then) == (False, None)


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
    """Give a function that asks a worker's port how it is, and returns status and body; 0 if it does not answer."""

    def health_of(port: int) -> tuple[int, dict[str, str]]:
        try:
            answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
        except requests.ConnectionError:
            return 0, {}
        return answer.status_code, answer.json()

    return health_of


LISTENS = {"status": "ok", "scans": "ok", "wake_ups": "listening", "through": "DATABASE_URL"}


@pytest.mark.parametrize(
    ("processes", "wake_ups", "through"),
    [(1, "on", "DATABASE_URL"), (2, "on", "DATABASE_DIRECT_URL"), (1, "off", None)],
)
def test_says_whether_it_listens_and_where(
    spawn_worker, database, direct, free_port, health_of, metric, wake_ups, through, processes
):
    urls = {"DATABASE_URL": direct(database), "DATABASE_DIRECT_URL": "", through or "DATABASE_URL": direct(database)}
    spawn_worker(WORKER_METRICS_PORT=free_port, WORKER_PROCESSES=processes, WAKE_UPS=wake_ups, **urls)

    says = {**LISTENS, "through": through} if through else {"status": "ok", "scans": "ok", "wake_ups": "off"}
    eventually(lambda: health_of(free_port) == (200, says))
    assert metric(free_port, "worker_polling") == (through is None)
    assert metric(free_port, "worker_through_direct_url") == (through == "DATABASE_DIRECT_URL")


def test_is_ill_when_its_database_has_been_away_for_a_lease(spawn_worker, free_port, health_of, database, direct):
    with proxy_to(direct(database)) as proxy:
        spawn_worker(DATABASE_URL=proxy.url, DATABASE_DIRECT_URL="", WORKER_METRICS_PORT=free_port, LEASE_SECONDS=1)
        ill = {**LISTENS, "status": "unavailable", "scans": "failing", "wake_ups": "polling"}
        eventually(lambda: health_of(free_port) == (200, LISTENS))

        proxy.go_away()

        eventually(lambda: health_of(free_port) == (503, ill))
        proxy.come_back()
        eventually(lambda: health_of(free_port) == (200, LISTENS))


def test_finds_jobs_by_looking_if_no_notification_comes(
    spawn_worker, database, direct, free_port, health_of, metric, sleepers, enqueue, finished
):
    # A notification stays within its database; to listen in another one is as good as listening to a pool.
    elsewhere = url_of(direct(database), "postgres")

    worker = spawn_worker(DATABASE_DIRECT_URL=elsewhere, WORKER_METRICS_PORT=free_port, POLL_SECONDS=0.2)

    eventually(lambda: "no notifications arrive through DATABASE_DIRECT_URL" in worker.log)
    assert "poll every 0.2 s" in worker.log
    looks = {**LISTENS, "wake_ups": "polling", "through": "DATABASE_DIRECT_URL"}
    eventually(lambda: health_of(free_port) == (200, looks))
    assert metric(free_port, "worker_polling") == 1
    assert metric(free_port, "worker_through_direct_url") == 1
    assert sleepers() == 0
    finished(enqueue("t.note"))
    assert sleepers() == 0


def test_finds_jobs_by_looking_if_the_direct_address_does_not_answer(spawn_worker, enqueue, finished, sleepers):
    worker = spawn_worker(DATABASE_DIRECT_URL="postgresql://u:swordfish@127.0.0.1:1/x", POLL_SECONDS=0.2)

    eventually(lambda: "DATABASE_DIRECT_URL cannot be reached" in worker.log)
    finished(enqueue("t.note"))
    assert sleepers() == 0
    assert "the database is away" not in worker.log
    assert "swordfish" not in worker.log
