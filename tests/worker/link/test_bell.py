"""Where the thread that looks for work waits ..."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from haulier.worker.link.sleeper import Bell
from tests.conftest import PATIENCE


@pytest.fixture
def bell() -> Bell:
    return Bell()


def waited(bell: Bell, seconds: float) -> float:
    began_at = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - began_at


def test_waits_for_the_time_if_the_bell_does_not_ring(bell):
    assert waited(bell, 0.05) >= 0.05
    assert waited(bell, -1.0) < 5


def test_a_ring_before_the_wait_ends_it_at_once_until_it_is_cleared(bell):
    bell.ring()

    assert waited(bell, 10) < 5
    assert waited(bell, 10) < 5

    bell.clear()
    bell.clear()
    assert waited(bell, 0.05) >= 0.05


def test_a_ring_wakes_the_thread_that_waits(bell):
    ringing = threading.Timer(0.1, bell.ring)
    ringing.start()

    assert 0.05 < waited(bell, 30) < 25
    ringing.join()


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Let threads take turns far more often than they do by themselves."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_many_threads_may_ring_at_once_and_no_ring_is_lost(bell, hasty_switches):
    ringers, rounds = 6, 5000
    barrier = threading.Barrier(ringers + 1)
    broken: list[BaseException] = []

    def ring() -> None:
        try:
            for _ in range(rounds):
                barrier.wait(PATIENCE)
                bell.ring()
        except BaseException as error:
            broken.append(error)

    crowd = [threading.Thread(target=ring) for _ in range(ringers)]
    for thread in crowd:
        thread.start()
    longest = 0.0
    for _ in range(rounds):
        bell.clear()
        barrier.wait(PATIENCE)
        longest = max(longest, waited(bell, 30))
    for thread in crowd:
        thread.join()

    assert not broken
    assert longest < 25
