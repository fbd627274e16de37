"""Where the thread that looks for work waits ..."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from haulier.worker.lookout import Lookout


@pytest.fixture
def lookout() -> Lookout:
    return Lookout()


def waited(lookout: Lookout, seconds: float) -> float:
    began_at = time.monotonic()
    lookout.wait(seconds)
    return time.monotonic() - began_at


def test_waits_for_the_time_where_nobody_rings(lookout):
    assert waited(lookout, 0.05) >= 0.05
    assert waited(lookout, -1.0) < 5


def test_a_ring_before_the_wait_ends_it_at_once_until_it_is_heeded(lookout):
    lookout.ring()

    assert waited(lookout, 10) < 5
    assert waited(lookout, 10) < 5

    lookout.heed()
    lookout.heed()
    assert waited(lookout, 0.05) >= 0.05


def test_a_ring_wakes_whoever_waits(lookout):
    ringing = threading.Timer(0.1, lookout.ring)
    ringing.start()

    assert 0.05 < waited(lookout, 30) < 25
    ringing.join()


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Let threads take turns far more often than they do by themselves."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_many_may_ring_at_once_and_none_is_lost(lookout, hasty_switches):
    ringers, rounds = 6, 5000
    barrier = threading.Barrier(ringers + 1)
    broken: list[BaseException] = []

    def ring() -> None:
        try:
            for _ in range(rounds):
                barrier.wait(30)
                lookout.ring()
        except BaseException as error:
            broken.append(error)

    crowd = [threading.Thread(target=ring) for _ in range(ringers)]
    for thread in crowd:
        thread.start()
    longest = 0.0
    for _ in range(rounds):
        lookout.heed()
        barrier.wait(30)
        longest = max(longest, waited(lookout, 30))
    for thread in crowd:
        thread.join()

    assert not broken
    assert longest < 25
