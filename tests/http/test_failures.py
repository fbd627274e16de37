"""How often something may fail: each address by itself, however many there are."""

from __future__ import annotations

import pytest

from app.http.limits import fault_limit
from app.http.limits.fault_limit import Failures


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, which stands still."""
    now = [1000.0]
    monkeypatch.setattr(fault_limit.time, "monotonic", lambda: now[0])
    return now


def test_lets_an_address_fail_again_as_time_goes_by(clock: list[float]) -> None:
    failed = Failures(10.0, 3.0)
    for _ in range(3):
        assert failed.wait("a") == 0
        failed.note("a")

    waits = [failed.wait("a"), failed.wait("b")]
    clock[0] += 0.05
    waits.append(failed.wait("a"))
    clock[0] += 0.05
    waits.append(failed.wait("a"))
    clock[0] += 3600
    for _ in range(3):
        failed.note("a")

    assert waits == pytest.approx([0.1, 0.0, 0.05, 0.0])
    assert failed.wait("a") > 0


def test_gives_many_addresses_no_more_than_some(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_limit, "MOST_ADDRESSES", 10)
    failed, done = Failures(1.0, 2.0), 0

    for number in range(1000):
        address = f"2001:db8::{number:x}"
        while not failed.wait(address):
            failed.note(address)
            done += 1

    # Ten accounts of their own, and the one that all others share.
    assert done == 22
    assert len(failed._left) <= 11
    clock[0] += 3600
    assert failed.wait("another") == 0
    failed.note("another")
    assert list(failed._left) == ["another"]
