"""What must be true of every row after each step."""

from __future__ import annotations

from haulier.domain.job import Job
from tests.model.ledger import FINAL, UNIT, Entry
from tests.model.world import Row

# The columns that the ledger calls the same.
SAME = (
    "status", "queue", "priority", "attempt", "claim", "attempts", "max_attempts", "crashes", "snoozes",
    "backoff", "cancel_requested", "last_error", "result",
)  # fmt: skip
# What the passing of time moves in a row that nobody changes.
MOVING = ("now", "version", "run_at", "updated_at", "finished_at")


def is_about(seconds: float, units: float) -> bool:
    """Return whether a time that the database gave is this one of the ledger's."""
    return abs(seconds / UNIT.total_seconds() - units) < 0.25


def keeps_the_promises(was: Row | None, row: Row, *, may_live_again: bool) -> None:
    """Compare a row with what it was before the step, whatever the ledger says of it."""
    assert (row["place"] == "finished_job") == (row["status"] in FINAL)
    assert row["attempts"] <= row["max_attempts"], "more attempts than its budget has"
    if was is None:
        return
    assert row["attempt"] >= was["attempt"], "the fence went back"
    if was["status"] in FINAL and not may_live_again:
        assert _unmoved(was) == _unmoved(row), "changed after its end"
    if was["cancel_requested"] and was["status"] == "running":
        assert row["status"] in ("running", "cancelled"), "a cancel that was accepted has lost"


def _unmoved(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in MOVING}


def is_as_written(job: Entry, row: Row, *, clock: int) -> None:
    """Compare a row with the ledger's entry, and learn from it the moments that only the database knows."""
    for name in SAME:
        assert row[name] == getattr(job, name), name
    assert row["worker_id"] == job.worker
    assert row["idempotency_key"] == job.key
    assert row["suspect"] == job.is_suspect
    assert [(error["attempt"], error["error"]) for error in row["errors"]] == job.errors
    if job.place is None:
        assert is_about((row["run_at"] - row["now"]).total_seconds(), job.due - clock), "due at another time"
        job.place = row["run_at"]
    assert row["run_at"] == job.place, "another place in the queue"
    if job.finished_at is None and row["finished_at"] is not None:
        assert is_about((row["finished_at"] - row["now"]).total_seconds(), 0)
        job.finished_at = row["finished_at"]
    assert row["finished_at"] == job.finished_at


def is_told(job: Job, entry: Entry) -> None:
    """Compare with the ledger's entry what a verb has answered."""
    for name in ("status", "queue", "priority", "attempts", "max_attempts", "crashes", "snoozes", "backoff"):
        assert getattr(job, name) == getattr(entry, name), name
    assert (job.worker_id, job.last_error, job.idempotency_key) == (entry.worker, entry.last_error, entry.key)
    assert [(error["attempt"], error["error"]) for error in job.errors] == entry.errors
