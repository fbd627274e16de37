"""`perform` of haulier.testing: it ..."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.kinds import PayloadSchema, StopReason, kind
from haulier.testing import NeverEnds, PayloadRefused, Performed, UnknownKind, perform
from haulier.testing.fake_context import FakeContext, Stop
from tests.testing.kinds_to_test import (
    about_its_job,
    apart,
    echoes,
    here,
    naps,
    patient,
    tells,
    tidy,
    ways,
)

ENDINGS = ("succeeded", "retried", "snoozed", "failed", "cancelled", "released")


def endings_of(outcome: Performed) -> list[str]:
    """Return which of the six it says of itself."""
    return [name for name in ENDINGS if getattr(outcome, name)]


def test_reports_how_the_handler_ended():
    for way, ending, error in (
        ("returns", "succeeded", None),
        (
            "returns_what_is_not_json",
            "failed",
            "the handler's result is not JSON: Object of type object is not JSON",
        ),
        ("returns_too_much", "failed", "the handler's result is 70002 bytes long; 65536 are stored at most"),
        ("raises", "retried", "ValueError: no luck (kinds_to_test.py:"),
        ("exits", "retried", "SystemExit: 3 (kinds_to_test.py:"),
        ("fails", "failed", "hopeless"),
        ("retries", "retried", "later"),
        ("retries_soon", "retried", "soon"),
        ("snoozes", "snoozed", None),
    ):
        outcome = perform(ways, {"way": way})

        assert endings_of(outcome) == [ending], way
        assert (outcome.error or "").startswith(error or "")
        assert (outcome.error is None) is (error is None)


def test_reports_the_delay_until_the_next_run_and_the_result_as_json():
    echoed = perform(echoes, {"value": (1, {2: "two"})}).result
    assert echoed == {"payload": [1, {"2": "two"}], "as_tuple": [1, 2], "type": "list"}
    assert perform(ways, {"way": "retries_soon"}).delay == 0.6
    assert perform(ways, {"way": "snoozes"}).delay == 0.6
    assert perform(ways, {"way": "snoozes_oddly"}).error == (
        "ValueError: the handler asked for a delay of nan s, and 31536000 is the longest"
    )
    back_off = perform(ways, {"way": "raises"}).delay
    assert back_off is not None
    assert 0.5 <= back_off <= 1.5
    for way in ("returns", "fails"):
        assert perform(ways, {"way": way}).delay is None


def test_fails_for_good_in_the_last_attempt_and_after_a_hundred_snoozes():
    for way in ("raises", "retries", "retries_soon"):
        outcomes = [perform(ways, {"way": way}, attempt=attempt, max_attempts=2) for attempt in (1, 2)]

        assert [endings_of(outcome) for outcome in outcomes] == [["retried"], ["failed"]]
        assert outcomes[1].delay is None
        assert outcomes[0].error == outcomes[1].error

    outcomes = [perform(ways, {"way": "snoozes"}, snoozes=snoozes) for snoozes in (99, 100)]
    assert [outcome.ending for outcome in outcomes] == ["snoozed", "failed"]
    assert outcomes[1].error == "snoozed more than 100 times"


def test_gives_the_handler_a_possible_job_as_it_was_asked_for():
    job_id = uuid4()

    told = perform(about_its_job, attempt=4, max_attempts=7, snoozes=2, timeout_seconds=9, job_id=job_id)

    asked = {"attempts": 4, "max_attempts": 7, "snoozes": 2, "timeout_seconds": 9}
    assert told.result == {"id": str(job_id), "kind": "test.job", "attempt": 6, **asked}
    assert told.job.id == job_id
    assert perform(about_its_job).job.id != perform(about_its_job).job.id
    for attempt in (0, 4):
        with pytest.raises(ValueError, match=f"attempt {attempt} of 3"):
            perform(about_its_job, attempt=attempt, max_attempts=3)


THEIRS = """
from haulier.kinds import PayloadSchema, kind

@kind("theirs", schema=PayloadSchema)
def theirs(context, payload):
    return "here"
"""


def test_takes_a_kind_by_name_by_handler_or_from_a_set_module(own_kinds, tmp_path, monkeypatch):
    assert perform("test.ways", {"way": "returns"}).result == perform(ways, {"way": "returns"}).result
    assert perform("summarize_text", {"text": "Just this."}).result == {"summary": "Just this.", "sentences": 1}
    (tmp_path / "kinds_of_theirs.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    assert perform("theirs", settings={"HAULIER_KINDS": "kinds_of_theirs"}).result == "here"


def test_says_that_a_kind_is_not_known(own_kinds):
    kind("test.twice", schema=PayloadSchema)(patient)

    with pytest.raises(
        UnknownKind, match=r"there is no kind 'test.way': .*HAULIER_KINDS.* known kinds are .*test.ways"
    ):
        perform("test.way")
    with pytest.raises(UnknownKind, match="endings_of is not decorated with @kind"):
        perform(endings_of)  # type: ignore[arg-type]
    with pytest.raises(
        UnknownKind, match="patient is the handler of several kinds: pass one of the names test.patient or test.twice"
    ):
        perform(patient)


def test_refuses_a_payload_that_does_not_fit_and_names_the_field():
    for payload, complaint in (
        ({}, "way: Missing data for required field."),
        ({"way": "returns", "weigh": 1}, "weigh: Unknown field."),
        ({"way": datetime(2026, 1, 1, tzinfo=UTC)}, "way: Object of type datetime is not JSON serializable"),
    ):
        with pytest.raises(PayloadRefused, match="the payload is invalid for test.ways: ") as caught:
            perform(ways, payload)

        assert complaint in str(caught.value)


def test_takes_no_time_if_the_handler_waits():
    began = time.monotonic()

    outcome = perform(naps, {"seconds": [10, 5.5, 0, -1]})

    assert (outcome.ending, outcome.seconds, outcome.looks) == ("succeeded", 15.5, 4)
    assert time.monotonic() - began < 10


def test_times_out_by_the_fake_clock():
    by_kind = perform(naps, {"seconds": [20, 20, 20]})
    by_job = perform(naps, {"seconds": [20, 20]}, timeout_seconds=25)
    in_time = perform(naps, {"seconds": [20, 20]}, timeout_seconds=60)

    assert (by_kind.ending, by_kind.error, by_kind.seconds) == ("retried", "timed out after 30 s", 30)
    assert (by_job.ending, by_job.error, by_job.seconds) == ("retried", "timed out after 25 s", 25)
    assert (in_time.ending, in_time.seconds) == ("succeeded", 40)
    assert perform(naps, {"seconds": [31]}, attempt=3).failed
    # Also if the handler returns all the same.
    assert perform(tidy).error == "timed out after 30 s"


def test_cancels_after_a_time_of_the_fake_clock():
    outcome = perform(naps, {"seconds": [2, 2, 2]}, cancel_after=3.0)

    assert (endings_of(outcome), outcome.seconds, outcome.looks) == (["cancelled"], 3.0, 2)
    assert perform(naps, {"seconds": [2, 2, 2]}, cancel_after=7.0).succeeded
    assert perform(naps, {"seconds": [2, 2]}, cancel_after=4.0).cancelled
    at_once = perform(patient, cancel_after=0)
    assert (at_once.ending, at_once.seconds, at_once.looks) == ("cancelled", 0, 1)


def test_cancels_at_a_look_of_the_handler():
    outcomes = [perform(naps, {"seconds": [2, 2, 2]}, cancel_at=at) for at in (1, 2, 3, 4)]

    assert [(outcome.ending, outcome.seconds) for outcome in outcomes] == [
        *[("cancelled", 0), ("cancelled", 2), ("cancelled", 4)],
        ("succeeded", 6),
    ]
    assert [outcome.looks for outcome in outcomes[:3]] == [1, 2, 3]
    # Whatever the handler does about it.
    assert perform(patient, cancel_at=7).cancelled
    tidied = perform(tidy, cancel_after=1)
    assert (tidied.ending, tidied.result, tidied.exception) == ("cancelled", None, None)


def test_gives_the_job_back_when_the_worker_stops():
    assert endings_of(perform(naps, {"seconds": [9]}, shutdown_after=3)) == ["released"]
    assert perform(naps, {"seconds": [9, 9]}, shutdown_at=2).seconds == 9
    # Whoever is done in time has succeeded.
    assert perform(tidy, shutdown_after=3).result == "tidied up: shutdown"
    # What comes first counts.
    assert perform(naps, {"seconds": [60]}, cancel_after=40).error == "timed out after 30 s"
    assert perform(naps, {"seconds": [60]}, cancel_after=20, shutdown_after=10).released
    assert perform(naps, {"seconds": [60]}, cancel_after=30).cancelled


def test_says_that_a_handler_waits_for_ever():
    with pytest.raises(NeverEnds, match="test.patient checked 1,000,000 times .* cancel_after or cancel_at"):
        perform("test.patient")


def test_counts_no_look_of_another_thread():
    context = FakeContext(perform(about_its_job).job, Config(database_url=""), [Stop(StopReason.CANCELLED, at=2)])
    context.raise_if_cancelled()

    with ThreadPoolExecutor(1) as other:
        other.submit(lambda: [context.cancelled for _ in range(5)])

    assert (context.looks, context.stop_reason) == (1, None)
    assert context.cancelled


def test_gives_the_handler_the_settings_of_the_test_and_not_the_environment(monkeypatch):
    monkeypatch.setenv("STORAGE_URL", "memory://environment")

    without = perform(here)
    urls = {"DATABASE_URL": "postgres://test/", "SMTP_URL": "smtp://test", "STORAGE_URL": "memory://test"}

    assert (without.ending, without.error) == ("failed", "test.here needs STORAGE_URL, which is not set")
    with pytest.raises(ConfigError, match="ISOLATED_PROCESSES"):
        perform(here, settings={"ISOLATED_PROCESSES": "many"})
    assert perform(here, settings=urls).result == [os.getpid(), *urls.values()]
    # An isolated kind sees only what it names.
    assert perform(apart, settings=urls).result[1:] == ["", None, "memory://test"]


def test_gives_what_the_handler_said_of_its_progress_in_order():
    outcome = perform(tells, {"value": [[0], [1, 2], [2.5, 2, "n" * 201]]})
    wrong = perform(tells, {"value": [[1, 2], [-1, 2]]})

    assert outcome.progress == [(0, None, None), (1, 2, None), (2.5, 2, "n" * 199 + "…")]
    assert perform(naps).progress == []
    assert wrong.retried
    assert (wrong.error or "").startswith("ValueError: progress: done must be from 0 to 2**53 (")
    assert wrong.progress == [(1, 2, None)]


def test_shows_how_it_ended_if_an_assertion_fails():
    failed, raised = perform(ways, {"way": "fails"}), perform(ways, {"way": "raises"})

    for part in ("ending='failed'", "error='hopeless'", "exception=Fail('hopeless')"):
        assert part in repr(failed)
    assert repr(raised.exception) == "ValueError('no luck')"
    assert raised.exception.__traceback__ is not None
    assert perform(ways, {"way": "returns"}).exception is None


def test_a_context_variable_that_a_handler_sets_does_not_reach_the_next_run(own_kinds):
    tenant = ContextVar("tenant", default="nobody")

    @kind("test.sets", schema=PayloadSchema)
    def sets(context, payload):
        before = tenant.get()
        tenant.set("ann")
        return before

    assert [perform(sets, {}).result for _ in range(2)] == ["nobody", "nobody"]
