"""What happened to a job: its steps ..."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from haulier.domain.job import FINAL_STATUSES, KEPT_ERRORS, LIVE_STATUSES, JobStatus
from haulier.domain.timeline import Done, Facts, FailedRun, Step, What, timeline

START = datetime(2026, 11, 27, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def facts(status: JobStatus = JobStatus.QUEUED, **known: Any) -> Facts:
    """Return the facts of a job that was enqueued at 0."""
    return Facts(status=status, **{"created_at": START, "updated_at": START, "run_at": START, **known})


def ran(status: JobStatus = JobStatus.CANCELLED, **known: Any) -> Facts:
    """Return the facts of a job that began at 2 and ended in its first run at 9."""
    run = {"claims": 1, "attempts": 1, "started_at": at(2), "finished_at": at(9), "has_worker": True}
    return facts(status, **{**run, **known})


def cancel(seconds: float) -> Done:
    return Done(at(seconds), "cancel", "anna")


def failed(attempt: int, began: float, ended: float, worker: str | None = "dock:7") -> FailedRun:
    return FailedRun(attempt, at(began), at(ended), worker, f"no luck {attempt}")


def steps_of(known: Facts) -> list[tuple[float, str]]:
    return [((step.at - START).total_seconds(), step.what) for step in timeline(known)]


def waits(known: Facts) -> list[tuple[float | None, str]]:
    return [(step.seconds, str(step.why)) for step in timeline(known) if step.what == What.WAITED]


# Strategies


times = st.integers(-5, 60).map(at)
maybe = st.none() | times
names = st.none() | st.sampled_from(["dock:7", "quay:8"])
runs = st.builds(FailedRun, st.integers(1, 30), times, times, names, st.just("no luck"))
acts = st.builds(Done, times, st.sampled_from(["cancel", "retry", "change", "copy", "of a newer release"]), names)
any_job = st.fixed_dictionaries({"status": st.sampled_from(LIVE_STATUSES)}) | st.fixed_dictionaries(
    {"status": st.sampled_from(FINAL_STATUSES), "finished_at": times}
)
any_past = st.fixed_dictionaries(
    dict(
        created_at=times,
        updated_at=times,
        run_at=times,
        started_at=maybe,
        claims=st.integers(0, 60),
        attempts=st.integers(0, 30),
        snoozes=st.integers(0, 5),
        failed=st.lists(runs, max_size=KEPT_ERRORS),
        done=st.lists(acts, max_size=8),
        more_done=st.booleans(),
        has_worker=st.booleans(),
        worker=names,
        enqueued_by=names,
    )
)
anything = st.builds(lambda job, past: Facts(**job, **past), any_job, any_past)


@given(anything)
def test_are_in_order_and_never_negative_whatever_the_clocks_said(known: Facts) -> None:
    steps = timeline(known)

    assert steps[0].what == What.ENQUEUED
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert all(step.seconds is None or step.seconds >= 0 for step in steps)
    assert len(steps) <= 2 * len(known.failed) + 2 * len(known.done) + 2 * (len(known.failed) + len(known.done)) + 8
    open_waits = [step for step in steps if step.what == What.WAITED and step.seconds is None]
    assert len(open_waits) == known.waits
    for one, other in zip(closed(steps), closed(steps)[1:], strict=False):
        assert one.at + timedelta(seconds=one.seconds or 0) <= other.at
    # Each copy and each failed run has its step.
    assert sum(step.what == What.FAILED for step in steps) == len(known.failed)
    assert [step.by for step in steps if step.what == "copy"] == [
        done.by for done in sorted(known.done, key=lambda done: max(done.at, known.created_at)) if done.action == "copy"
    ]


def closed(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.what == What.WAITED and step.seconds is not None]


# Cases


def test_of_a_waiting_job_say_since_when_and_until_when() -> None:
    enqueued, waited = timeline(facts(run_at=at(60), enqueued_by="hx3k9"))

    assert (enqueued.what, enqueued.by, enqueued.at) == (What.ENQUEUED, "hx3k9", START)
    assert (waited.what, waited.why, waited.at, waited.seconds) == (What.WAITED, "turn", START, None)
    assert waited.due_at == at(60)


def test_of_a_scheduled_job_start_with_its_tick_and_how_late_that_fired() -> None:
    for scheduled_for, late in ((-2.5, 2.5), (0, 0), (3, 0)):
        enqueued, waited = timeline(facts(schedule="nightly", scheduled_for=at(scheduled_for)))
        assert (enqueued.what, enqueued.schedule) == (What.ENQUEUED, "nightly")
        assert (enqueued.scheduled_for, enqueued.late_seconds) == (at(scheduled_for), late)
        assert (waited.schedule, waited.late_seconds) == (None, None)
    assert timeline(facts())[0].late_seconds is None


def test_of_a_job_that_failed_twice_and_succeeded_say_all_of_it() -> None:
    known = facts(
        JobStatus.SUCCEEDED,
        failed=[failed(1, 2, 5), failed(2, 11, 12, worker=None)],
        claims=3,
        attempts=3,
        run_at=at(20),
        started_at=at(21),
        finished_at=at(24.5),
        has_worker=True,
        worker="quay:8",
    )

    assert steps_of(known) == [
        (0, "enqueued"), (0, "waited"), (2, "began"), (5, "failed"), (5, "waited"), (11, "began"), (12, "failed"),
        (12, "waited"), (21, "began"), (24.5, "succeeded"),
    ]  # fmt: skip
    assert waits(known) == [(2, "turn"), (6, "back_off"), (9, "back_off")]
    steps = timeline(known)
    assert [(step.attempt, step.worker, step.seconds, step.error) for step in steps if step.attempt] == [
        (1, "dock:7", None, None), (1, "dock:7", 3, "no luck 1"), (2, None, None, None), (2, None, 1, "no luck 2"),
        (3, "quay:8", None, None), (3, "quay:8", 3.5, None),
    ]  # fmt: skip
    assert [step.due_at for step in steps if step.due_at] == [at(20)]


def test_of_a_job_that_failed_for_good_end_with_that_and_no_wait() -> None:
    known = ran(JobStatus.FAILED_PERMANENT, failed=[failed(1, 2, 5, worker=None)], finished_at=at(5), worker="dock:9")

    assert steps_of(known) == [(0, "enqueued"), (0, "waited"), (2, "began"), (5, "failed"), (5, "failed_permanent")]
    # The rescuer of a dead worker's job did not know the worker's name, but its id is kept.
    assert [step.worker for step in timeline(known) if step.attempt] == ["dock:9", "dock:9"]


def test_of_a_job_cancelled_while_it_ran_say_by_whom_and_when_it_ended() -> None:
    known = ran(done=[cancel(4)])

    assert steps_of(known) == [(0, "enqueued"), (0, "waited"), (2, "began"), (4, "cancel_requested"), (9, "cancelled")]
    assert [(step.by, step.seconds) for step in timeline(known)[-2:]] == [("anna", None), (None, 7)]
    # It failed when it was asked to stop: no wait follows.
    assert steps_of(ran(failed=[failed(1, 2, 9)], done=[cancel(4)]))[3:] == [
        (4, "cancel_requested"), (9, "failed"), (9, "cancelled"),
    ]  # fmt: skip
    # It was cancelled in the instant in which it ended: that is one end.
    assert steps_of(ran(done=[cancel(9)]))[2:] == [(2, "began"), (9, "cancel_requested"), (9, "cancelled")]


def test_of_a_job_cancelled_after_it_was_given_back_do_not_say_how_long_it_ran() -> None:
    by_an_operation = ran(attempts=0, has_worker=False, updated_at=at(9))
    by_anna = ran(attempts=0, has_worker=False, done=[cancel(9)])

    for known, by in ((by_an_operation, None), (by_anna, "anna")):
        assert steps_of(known) == [(0, "enqueued"), (0, "waited"), (2, "began"), (9, "cancelled")]
        assert (timeline(known)[-1].by, timeline(known)[-1].seconds) == (by, None)


def test_do_not_take_a_cancel_for_the_end_if_a_run_is_not_kept() -> None:
    known = facts(
        JobStatus.RUNNING,
        claims=2,
        attempts=1,
        started_at=at(12),
        run_at=at(9),
        done=[cancel(4), Done(at(9), "retry", "ben")],
    )

    # It may have run then.
    assert steps_of(known) == [
        (0, "enqueued"), (4, "cancel_requested"), (9, "retried"), (9, "waited"), (12, "began"),
    ]  # fmt: skip
    assert waits(known) == [(3, "not_known")]


def test_count_no_wait_between_the_end_of_a_job_and_its_retry() -> None:
    known = facts(
        failed=[failed(1, 2, 5)], claims=1, started_at=at(2), run_at=at(50), done=[Done(at(50), "retry", "anna")]
    )

    assert steps_of(known) == [
        (0, "enqueued"), (0, "waited"), (2, "began"), (5, "failed"), (50, "retried"), (50, "waited"),
    ]  # fmt: skip
    assert waits(known) == [(2, "turn"), (None, "turn")]


def test_say_both_a_cancel_while_it_waited_and_a_retry() -> None:
    known = facts(
        JobStatus.SUCCEEDED,
        claims=1,
        attempts=1,
        started_at=at(12),
        finished_at=at(13),
        has_worker=True,
        run_at=at(9),
        done=[cancel(4), Done(at(9), "retry", "ben")],
    )

    assert steps_of(known) == [
        (0, "enqueued"), (0, "waited"), (4, "cancelled"), (9, "retried"), (9, "waited"), (12, "began"),
        (13, "succeeded"),
    ]  # fmt: skip
    assert waits(known) == [(4, "turn"), (3, "turn")]


def test_do_not_say_when_a_cancelled_and_retried_run_ended() -> None:
    known = facts(
        claims=1,
        started_at=at(2),
        run_at=at(9),
        updated_at=at(9),
        done=[cancel(4), Done(at(9), "retry", "ben")],
    )

    assert steps_of(known) == [
        (0, "enqueued"), (0, "waited"), (2, "began"), (4, "cancel_requested"), (9, "retried"), (9, "waited"),
    ]  # fmt: skip


def test_of_a_job_that_no_longer_runs_say_whether_it_was_snoozed_or_given_back() -> None:
    for snoozes, claims, what, why in (
        (0, 1, "given_back", "given_back"),
        (1, 1, "snoozed", "snoozed"),
        (1, 2, "put_back", "not_known"),
    ):
        known = facts(snoozes=snoozes, claims=claims, started_at=at(2), updated_at=at(6), run_at=at(90))
        assert steps_of(known) == [(0, "enqueued"), (0, "waited"), (2, "began"), (6, what), (6, "waited")]
        last = timeline(known)[-1]
        assert (last.why, last.due_at, last.seconds) == (why, at(90), None)
        assert [step.attempt for step in timeline(known) if step.attempt] == [1, 1]


def test_say_how_a_run_that_is_not_kept_ended_if_only_one_wait_can_hold_it() -> None:
    for snoozes, why in ((0, "given_back"), (2, "snoozed"), (1, "not_known")):
        known = facts(JobStatus.RUNNING, snoozes=snoozes, claims=3, attempts=1, started_at=at(9))
        assert waits(known) == [(9, why)]


def test_guess_nothing_of_a_run_that_several_waits_can_hold() -> None:
    known = facts(JobStatus.RUNNING, failed=[failed(1, 2, 5)], claims=3, attempts=2, snoozes=1, started_at=at(9))

    assert waits(known) == [(2, "not_known"), (4, "not_known")]


def test_say_how_many_runs_are_not_kept_beside_the_twenty_that_are() -> None:
    kept = [failed(number, 10 * number, 10 * number + 1) for number in range(32, 32 + KEPT_ERRORS)]
    known = facts(JobStatus.RUNNING, failed=kept, claims=52, attempts=52, started_at=at(900))

    steps = timeline(known)

    assert [(step.what, step.count) for step in steps[:3]] == [
        ("enqueued", None),
        ("runs_not_kept", 31),
        ("began", None),
    ]
    assert {why for _, why in waits(known)} == {"back_off"}
    # Of more claims than attempts some were given back, at unknown times.
    assert {why for _, why in waits(facts(JobStatus.RUNNING, failed=kept, claims=60, started_at=at(900)))} == {
        "not_known"
    }
