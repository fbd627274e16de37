"""The end of a job's time: it ..."""

from __future__ import annotations

import time

import pytest
from marshmallow import Schema

from haulier.config import Config
from haulier.domain.outcome import Verb
from haulier.kinds import JobContext, Kind, RetryPolicy, StopReason
from haulier.worker.link.sleeper import Bell
from haulier.worker.steps.timeouts import Timeouts
from haulier.worker.supply.buffer import Buffer
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import CallSize, ClaimSize
from tests.worker.jobs import a_job

CONFIG = Config("postgres://db.example.com/haulier")
KIND = Kind("mail", Schema, lambda *_: None, retry=RetryPolicy())


@pytest.fixture
def buffer() -> Buffer:
    return Buffer(ClaimSize(threads=1), CallSize(), Bell(), Shutdown())


def a_run(timeout: float | None, *, began: float | None) -> HeldJob:
    """Return a job that began so long ago."""
    job = a_job("mail")
    return HeldJob(job, JobContext(job, CONFIG), timeout, began_at=None if began is None else time.monotonic() - began)


def timeouts(buffer: Buffer, *running: HeldJob | None, stuck: float = 3600.0) -> Timeouts:
    return Timeouts(lambda: running, buffer, {"mail": KIND}, stuck_seconds=stuck)


def test_asks_those_to_stop_whose_time_is_up_and_no_others(buffer):
    late, has_ended = a_run(30.0, began=31.0), a_run(30.0, began=31.0)
    has_ended.has_ended = True
    others = [has_ended, a_run(30.0, began=5.0), a_run(None, began=1e6), a_run(30.0, began=None)]
    looked_after = timeouts(buffer, None, late, *others)

    looked_after.enforce()

    assert late.context.stop_reason is StopReason.TIMEOUT
    assert [each.context.stop_reason for each in others] == [None] * 4
    assert (looked_after.stuck, buffer.has_any()) == (0, False)


def test_gives_up_once_what_does_not_stop(buffer):
    deaf = a_run(30.0, began=31.0)
    looked_after = timeouts(buffer, deaf, stuck=0.0)

    looked_after.enforce()
    asked = (deaf.has_ended, looked_after.stuck)
    looked_after.enforce()
    looked_after.enforce()

    [given_up] = buffer.round_trip().ended
    assert asked == (False, 0)
    assert (deaf.has_ended, looked_after.stuck) == (True, 1)
    assert given_up.outcome.verb is Verb.FAIL
    assert given_up.outcome.error == "timed out after 30.0 s, and did not stop within another 0 s"
