"""What started while its queue was paused, and nothing had held its process up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lab.chaos.evidence import Evidence
from lab.chaos.faults import Injected
from lab.chaos.ledger import Event, Record

WITHIN_SECONDS = 1.0
# When the longest call has met its deadline: a claim may have been under way for so long.
DEADLINE_SECONDS = 12.5
# Kinds that hold the interpreter: filling 100 MB takes a busy machine longer than the shortest lease.
HOLD_THE_GIL = {"c.holds": "handler_holds_gil", "c.leaks": "handler_leaks"}


def breaches(evidence: Evidence, kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each breach of the promise of pauses, as its name and what happened."""
    for job_id in evidence.claimed_while_paused:
        yield "claimed_while_paused", job_id
    elsewhere = {each.job for each in evidence.witness.written if each.queue != "default"}
    for pause in evidence.injected:
        for record in evidence.records if pause.name == "queue_paused" else ():
            late = record.at - pause.began_at
            is_late = record.event is Event.START and late > WITHIN_SECONDS and record.at < pause.ended_at
            # If operators have moved a job, only its claim shows in which queue it was.
            if is_late and str(record.job) not in elsewhere and not _was_held_up(record, pause, evidence, kinds):
                yield "started_while_paused", f"{record.job}: in {record.pid}, {late:.2f} s after"


def _was_held_up(record: Record, pause: Injected, evidence: Evidence, kinds: Mapping[str, str]) -> bool:
    """Return whether its claim, or the thread that started it, may have been under way since before the pause."""
    since = pause.began_at - DEADLINE_SECONDS
    stood_still = any(began_at <= record.at and ended_at >= since for began_at, ended_at in evidence.stalls)
    had_no_turn = any(
        each.pid == record.pid and kinds.get(str(each.job)) in HOLD_THE_GIL and since <= each.at <= record.at
        for each in evidence.records
    )
    return (
        stood_still
        or had_no_turn
        or any(
            other.began_at <= record.at and other.ended_at >= since
            for other in evidence.injected
            if other.name != "queue_paused" and ("workers" in other.touches or record.pid in other.pids)
        )
    )
