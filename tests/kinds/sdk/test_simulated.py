"""EXECUTOR=simulated: the hash alone decides."""

from __future__ import annotations

import statistics
import time
import uuid
from typing import Any

import pytest

from haulier.kinds import Fail, JobCancelled, JobContext, StopReason, load_kinds
from haulier.kinds.sdk.simulated import FAILURE_RATE, STEPS, failing_step, outcome_of
from tests.kinds.kinds_tools import a_context, a_job, perform, settings

HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}
IDS = [uuid.UUID(int=n) for n in range(2000)]


def simulated(attempts: int = 1, **job: Any) -> JobContext:
    context = a_context("send_email", HELLO, executor="simulated")
    context.job = context.job._replace(attempts=attempts, **job)
    return context


def test_run_ends_as_the_hash_says() -> None:
    for job_id in IDS[:60]:
        try:
            perform(simulated(id=job_id))
            ended = "succeeded"
        except RuntimeError:
            ended = "failed"
        assert ended == outcome_of(job_id, 1)


def test_failure_names_the_step_that_the_hash_says() -> None:
    job_id = next(each for each in IDS if failing_step(each, 1) == 2)

    with pytest.raises(RuntimeError, match="simulated failure of attempt 1 at step 2"):
        perform(simulated(id=job_id))


def test_about_27_of_100_first_attempts_fail() -> None:
    failed = sum(outcome_of(job_id, 1) == "failed" for job_id in IDS)

    assert failed / len(IDS) == pytest.approx(1 - (1 - FAILURE_RATE) ** STEPS, abs=0.03)


def test_second_and_later_attempts_always_succeed() -> None:
    unlucky = next(job_id for job_id in IDS if outcome_of(job_id, 1) == "failed")

    assert perform(simulated(attempts=2, id=unlucky)) == {"simulated": True, "steps": STEPS}
    assert all(outcome_of(job_id, attempt) == "succeeded" for job_id in IDS for attempt in (2, 3, 1000))


def test_outcome_is_the_same_in_every_version() -> None:
    assert "".join(outcome_of(job_id, 1)[0] for job_id in IDS[:40]) == "ssssfsssssfssssssssfsfssssfsssfsssfssfff"


def test_work_takes_a_few_milliseconds() -> None:
    lucky = next(job_id for job_id in IDS if outcome_of(job_id, 1) == "succeeded")
    took = []
    for _ in range(9):
        started = time.monotonic()
        perform(simulated(id=lucky))
        took.append(time.monotonic() - started)

    assert 0.003 <= statistics.median(took) < 0.05


def test_payload_is_checked_as_the_real_kind_checks_it() -> None:
    context = simulated()
    context.job = context.job._replace(payload={"to": "nobody"})

    with pytest.raises(Fail, match="to: Must be an address"):
        perform(context)


def test_no_setting_is_needed_and_all_kinds_are_there() -> None:
    config = settings(executor="simulated", webhook_secret="not base64!", smtp_url="nonsense", storage_url="x")

    kinds = load_kinds(config)

    assert list(kinds) == list(load_kinds(settings()))
    assert all(not each.missing_settings(config) for each in kinds.values())
    assert kinds["send_email"].timeout == load_kinds(settings())["send_email"].timeout


def test_cancel_is_seen_between_steps() -> None:
    context = simulated(id=a_job().id)
    context.stop(StopReason.CANCELLED)

    with pytest.raises(JobCancelled):
        perform(context)
