"""EXECUTOR=simulated: the hash alone decides."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from haulier.kinds import Fail, load_kinds
from haulier.kinds.sdk.simulated import STEPS, failing_step
from haulier.testing import Performed, perform
from tests.kinds.kinds_tools import a_context, settings

HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}
IDS = [uuid.UUID(int=n) for n in range(2000)]


def simulated(**job: Any) -> Performed:
    return perform("send_email", HELLO, settings={"EXECUTOR": "simulated"}, **job)


def test_first_attempt_ends_as_the_hash_says_and_later_ones_succeed():
    for job_id in IDS[:60]:
        first, step = simulated(job_id=job_id), failing_step(job_id, 1)
        assert first.succeeded is (step is None)
        if not first.succeeded:
            assert first.retried
            assert repr(first.exception) == f"RuntimeError('simulated failure of attempt 1 at step {step}')"
            assert simulated(job_id=job_id, attempt=2).result == {"simulated": True, "steps": STEPS}
    assert {failing_step(job_id, attempt) for job_id in IDS for attempt in (2, 3, 1000)} == {None}


def test_outcome_is_the_same_in_every_version():
    fails = "".join("s" if failing_step(job_id, 1) is None else "f" for job_id in IDS[:40])

    assert fails == "ssssfsssssfssssssssfsfssssfsssfsssfssfff"


def test_work_takes_a_few_milliseconds():
    lucky = [job_id for job_id in IDS[:100] if failing_step(job_id, 1) is None]

    took = [simulated(job_id=job_id).seconds for job_id in lucky]

    assert 0.003 <= min(took) < max(took) <= 0.009


def test_payload_is_checked_as_the_real_kind_checks_it():
    # Past the check of `perform`: a job that came by INSERT has met none.
    context = a_context("send_email", {"to": "nobody"}, executor="simulated")

    with pytest.raises(Fail, match="to: Must be an address"):
        load_kinds(context.settings)["send_email"].perform(context)


def test_no_setting_is_needed_and_all_kinds_are_there():
    config = settings(executor="simulated", webhook_secret="not base64!", smtp_url="nonsense", storage_url="x")

    kinds = load_kinds(config)

    assert list(kinds) == list(load_kinds(settings()))
    assert all(not each.missing_settings(config) for each in kinds.values())
    assert kinds["send_email"].timeout == load_kinds(settings())["send_email"].timeout


def test_cancel_is_seen_between_steps():
    lucky = next(job_id for job_id in IDS if failing_step(job_id, 1) is None)

    outcomes = [simulated(job_id=lucky, cancel_at=step) for step in range(1, STEPS + 1)]

    assert [(outcome.ending, outcome.looks) for outcome in outcomes] == [("cancelled", step) for step in (1, 2, 3)]
