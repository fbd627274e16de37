"""What two requests are compared by, and where a job may stand: it ..."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from haulier.domain.errors import ConfigError, HaulierError, InvalidTransition, JobNotFound
from haulier.domain.job import FINAL_STATUSES, LIVE_STATUSES, JobStatus, NewJob

MAIL = NewJob("send_email", {"to": "a@b.c", "subject": "Hi"}, tags=["vip", "nightly"])
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


def test_differs_if_a_field_of_the_request_differs():
    changes = [
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
        {"parsed_payload": {"day": NOON.date()}},
        {"parsed_payload": {"day": NOON.date() + timedelta(days=1)}},
    ]

    assert len({replace(MAIL, **change).fingerprint() for change in [{}, *changes]}) == 1 + len(changes)


def test_is_the_same_whatever_the_key_the_order_and_the_time_zone():
    in_mumbai = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert replace(MAIL, idempotency_key="order-7").fingerprint() == MAIL.fingerprint()
    assert replace(MAIL, tags=["nightly", "vip"]).fingerprint() == MAIL.fingerprint()
    assert replace(MAIL, payload={"subject": "Hi", "to": "a@b.c"}).fingerprint() == MAIL.fingerprint()
    assert replace(MAIL, run_at=NOON).fingerprint() == replace(MAIL, run_at=in_mumbai).fingerprint()


def test_compares_the_parsed_payload_if_there_is_one():
    short = replace(MAIL, payload={"text": "…"}, parsed_payload={"text": "…", "sentences": 3})
    spelt_out = replace(MAIL, payload={"text": "…", "sentences": 3}, parsed_payload={"text": "…", "sentences": 3})

    assert short.fingerprint() == spelt_out.fingerprint()


def test_stays_the_same_from_release_to_release():
    fingerprint = replace(MAIL, tags=[]).fingerprint()

    # Stored fingerprints are compared with it: a new value here makes every replay a mismatch.
    assert fingerprint.hex() == "d4df18de7e889f51686cafc2cfde0444f0897a7a72c07713130439f78d90cacb"


def test_every_status_is_a_word_of_the_contract_and_either_live_or_final():
    words = [str(status) for status in JobStatus]

    assert words == ["queued", "running", "retrying", "succeeded", "failed_permanent", "cancelled"]
    assert sorted([*LIVE_STATUSES, *FINAL_STATUSES]) == sorted(JobStatus)
    assert [status for status in JobStatus if status.is_final] == list(FINAL_STATUSES)


def test_errors_name_the_job_and_what_was_wrong():
    job_id = UUID("01980000-0000-7000-8000-000000000007")

    refused, missing = InvalidTransition(job_id, JobStatus.SUCCEEDED, "cancel"), JobNotFound(job_id)

    assert f"cannot cancel job {job_id}: its status is succeeded" in str(refused)
    assert str(missing) == f"job {job_id} not found"
    assert isinstance(refused, HaulierError)
    assert isinstance(missing, HaulierError)
    # Without a message, an error says what its class says.
    assert str(ConfigError()) == "A setting is missing or wrong."
    assert str(ConfigError("PORT: too high")) == "PORT: too high"
