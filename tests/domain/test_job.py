"""What two requests are compared by, and where a job may stand: it ..."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from haulier.domain.errors import ConfigError, HaulierError, InvalidTransition, JobNotFound
from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, JobStatus, NewJob

MAIL = NewJob("send_email", {"to": "a@b.c", "subject": "Hi"})
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "summarize_text"},
        {"payload": {"to": "a@b.c", "subject": "Bye"}},
        {"queue": "mail"},
        {"priority": 1},
        {"max_attempts": 4},
        {"run_at": NOON},
        {"delay": timedelta(0)},
        {"delay": timedelta(seconds=1)},
        {"timeout_seconds": 60},
        {"tags": ["vip"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_differs_where_the_request_differs(change):
    other = replace(MAIL, **change)

    assert other.fingerprint() != MAIL.fingerprint()


def test_leaves_the_key_out():
    keyed = replace(MAIL, idempotency_key="order-7")

    assert keyed.fingerprint() == MAIL.fingerprint()


def test_does_not_depend_on_the_order_of_the_tags():
    here, there = replace(MAIL, tags=["vip", "nightly"]), replace(MAIL, tags=["nightly", "vip"])

    assert here.fingerprint() == there.fingerprint()


def test_does_not_depend_on_the_order_of_the_fields():
    turned = replace(MAIL, payload={"subject": "Hi", "to": "a@b.c"})

    assert turned.fingerprint() == MAIL.fingerprint()


def test_knows_one_instant_in_two_time_zones():
    here = replace(MAIL, run_at=NOON)
    there = replace(MAIL, run_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))

    assert here.fingerprint() == there.fingerprint()


def test_compares_the_parsed_payload_where_there_is_one():
    short = replace(MAIL, payload={"text": "…"}, parsed_payload={"text": "…", "sentences": 3})
    spelt_out = replace(MAIL, payload={"text": "…", "sentences": 3}, parsed_payload={"text": "…", "sentences": 3})

    assert short.fingerprint() == spelt_out.fingerprint()


def test_takes_values_of_a_schemas_own_types():
    monday = replace(MAIL, parsed_payload={"day": NOON.date()})
    tuesday = replace(MAIL, parsed_payload={"day": NOON.date() + timedelta(days=1)})

    assert monday.fingerprint() != tuesday.fingerprint()


def test_stays_the_same_from_release_to_release():
    fingerprint = MAIL.fingerprint()

    # Stored fingerprints are compared with it: a new value here makes every replay a mismatch.
    assert fingerprint.hex() == "d4df18de7e889f51686cafc2cfde0444f0897a7a72c07713130439f78d90cacb"


def test_every_status_is_either_live_or_final():
    assert set(LIVE_STATUSES) | set(FINAL_STATUSES) == set(JobStatus)
    assert set(LIVE_STATUSES) & set(FINAL_STATUSES) == set()
    assert [status for status in JobStatus if status.is_final] == list(FINAL_STATUSES)


def test_the_statuses_are_the_contracts_words():
    words = [str(status) for status in JobStatus]

    assert words == ["queued", "running", "retrying", "succeeded", "failed_permanent", "cancelled"]


def test_an_error_without_a_message_says_what_its_class_says():
    assert str(ConfigError()) == "A setting is missing or wrong."
    assert str(ConfigError("PORT: too high")) == "PORT: too high"


def test_errors_name_the_job_and_what_was_wrong():
    job_id = UUID("01980000-0000-7000-8000-000000000007")

    refused, missing = InvalidTransition(job_id, JobStatus.SUCCEEDED, "cancel"), JobNotFound(job_id)

    assert f"{job_id}: cannot cancel when status=succeeded" in str(refused)
    assert str(missing) == f"job {job_id} not found"
    assert isinstance(refused, HaulierError)
    assert isinstance(missing, HaulierError)
