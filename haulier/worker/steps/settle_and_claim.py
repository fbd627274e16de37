"""The one call that serves the whole process: settle what has ended, claim what can be started."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from haulier.domain.claim import ClaimRequest, Settlement
from haulier.domain.errors import DatabaseUnavailable, JobRefused, Refusal
from haulier.domain.job import Job, JobStatus
from haulier.kinds import JobContext
from haulier.queue import consume
from haulier.queue.consume.claim import Claimed
from haulier.worker.shared.buffer import Ended, RoundTrip
from haulier.worker.shared.call_size import SLOW_SECONDS
from haulier.worker.shared.held import HeldJob
from haulier.worker.station import Station
from haulier.worker.steps.report import report

# For so long jobs that cannot be claimed are looked for, one after the other, while nothing else is claimed.
SEARCH_SECONDS = 0.5

log = logging.getLogger(__name__)


def settle_and_claim(station: Station, round_trip: RoundTrip, *, claiming: bool) -> int | None:
    """Settle and claim in one round trip; return how many jobs were claimed, or None when the database is away."""
    ended = round_trip.ended
    request = _wish(station, round_trip) if claiming else None
    if ended and request is not None and station.call_size.is_halved:
        if _settle(station, ended) is None:
            return None
        ended = []
    if request is None:
        return _settle(station, ended)
    began_at = time.monotonic()
    try:
        claimed = _claim(station, ended, request)
    except Refusal as error:
        if ended:
            # Which of the two was refused is not said.
            _doubt(station, ended, error)
        if request.limit > 1 and time.monotonic() - began_at >= SLOW_SECONDS:
            # It has waited for something, and so would each of the smaller ones: they come after a pause.
            station.call_size.refused(request.limit)
            station.outage.failed(error)
            return None
        claimed = _claim_less(station, request)
    return None if claimed is None else len(claimed)


def _wish(station: Station, round_trip: RoundTrip) -> ClaimRequest | None:
    worker_id = station.lease.worker_id
    marks = station.unclaimable_lanes.leave_out(station.marks.marks())
    if worker_id is None or station.stopping.is_set() or not marks or not round_trip.limit:
        return None
    # So many outcomes wait to be stored, or jobs to be claimable, that more would be of no use.
    if station.unclaimable.is_full or station.unsettled.is_full:
        return None
    return ClaimRequest(
        worker_id,
        consume.new_claim(),
        marks,
        round_trip.limit,
        round_trip.free,
        passed_over=station.unclaimable.waiting(),
    )


def settlements(ended: Sequence[Ended]) -> list[Settlement]:
    """Return the runs as the queue settles them."""
    return [Settlement(each.running.fence, each.outcome) for each in ended]


def held_job_of(station: Station, job: Job) -> HeldJob:
    """Return the claimed job as this process holds it."""
    kind = station.kinds.get(job.kind)
    timeout = job.timeout_seconds or (kind.timeout if kind else None)
    return HeldJob(job, JobContext(job, station.config), timeout, is_known=kind is not None)


def _settle(station: Station, ended: Sequence[Ended]) -> int | None:
    """Settle and claim nothing; None when the database is away."""
    if not ended:
        return 0
    began_at = time.monotonic()
    try:
        with station.database.connection() as conn:
            statuses, _ = consume.settle_and_claim(conn, settlements(ended), None)
    except Refusal as error:
        _doubt(station, ended, error)
        return 0
    except DatabaseUnavailable as error:
        station.call_size.failed(len(ended), time.monotonic() - began_at)
        _cut_off(station, ended, error)
        return None
    _answered(station, began_at)
    settled(station, ended, statuses)
    return 0


def _claim(
    station: Station, ended: Sequence[Ended], request: ClaimRequest, *, alone: bool = False
) -> list[HeldJob] | None:
    """Settle these and return what was claimed; None when the database is away.

    Raises: Refusal; where one job is claimed alone, JobRefused.
    """
    began_at = time.monotonic()
    statuses: list[JobStatus | None] = []
    # Unknown from when it is sent until there is an answer.
    claimed: list[HeldJob] | None = []
    try:
        with station.database.connection() as conn:
            station.held.begin_claim(request.claim_id)
            claimed = None
            if alone:
                brought = consume.claim_next(conn, request)
            else:
                statuses, brought = consume.settle_and_claim(conn, settlements(ended), request)
        claimed = [held_job_of(station, job) for job in brought.jobs]
    except Refusal as error:
        # What was refused was not done; but what could not be read was, unless it was one job, in a transaction.
        claimed = None if isinstance(error.__cause__, UnicodeError) and not alone else []
        raise
    except DatabaseUnavailable as error:
        station.call_size.failed(max(request.limit, len(ended)), time.monotonic() - began_at)
        _cut_off(station, ended, error)
        return None
    finally:
        station.held.end_claim(request.claim_id, claimed)
    _answered(station, began_at)
    settled(station, ended, statuses)
    if not request.suspect:
        _take_up(station, request, brought, claimed)
    return claimed


def _claim_less(station: Station, request: ClaimRequest) -> list[HeldJob] | None:
    """Claim half as many, and so on, down to the one job that cannot be claimed, which is passed over from then on."""
    limit, until = request.limit, time.monotonic() + SEARCH_SECONDS
    try:
        while limit > 1:
            station.call_size.refused(limit)
            limit //= 2
            try:
                return _claim(station, [], replace(request, claim_id=consume.new_claim(), limit=limit))
            except Refusal as error:
                log.debug("a claim of %d jobs is refused: %s", limit, error)
                # Each has waited for something.
                if time.monotonic() > until or station.stopping.is_set():
                    raise
        return _claim_one(station, request, until)
    # Whatever the job: it is the statement.
    except Refusal as error:
        station.outage.failed(error)
        return None


def _claim_one(station: Station, request: ClaimRequest, until: float) -> list[HeldJob] | None:
    """Claim one job, and pass over those that cannot be claimed; where they are many, leave their lanes for a while."""
    marks = list(request.marks)
    while marks and not station.stopping.is_set() and not station.unclaimable.is_full:
        passed_over = station.unclaimable.waiting()
        try:
            alone = replace(request, claim_id=consume.new_claim(), limit=1, marks=marks, passed_over=passed_over)
            return _claim(station, [], alone, alone=True)
        except JobRefused as refused:
            station.unclaimable.add(refused.job_id, refused, may_pass=refused.may_pass)
            if time.monotonic() > until and refused.lane is not None:
                station.unclaimable_lanes.add(refused.lane)
                marks = [mark for mark in marks if mark.lane != refused.lane]
    return []


def _answered(station: Station, began_at: float) -> None:
    station.call_size.succeeded(time.monotonic() - began_at)
    station.outage.succeeded()


def _cut_off(station: Station, ended: Sequence[Ended], error: DatabaseUnavailable) -> None:
    station.outage.failed(error)
    _mark_unsure(ended)
    station.buffer.put_back(ended)
    # Whether the claim was committed is unknown: the heartbeat looks, and gives back what nobody holds.
    station.beat_wanted.set()


def _doubt(station: Station, ended: Sequence[Ended], error: Refusal) -> None:
    """Leave to the settler a batch of which the database refuses something: the others must not wait for that."""
    log.debug("a batch of %d outcomes is refused: %s", len(ended), error)
    _mark_unsure(ended)
    station.buffer.doubt(ended)


def _mark_unsure(ended: Sequence[Ended]) -> None:
    for each in ended:
        each.running.is_unsure = True


def settled(station: Station, ended: Sequence[Ended], statuses: Sequence[JobStatus | None]) -> None:
    """Let go of what has been settled, and say so; the settler sees to what was left out."""
    if not ended:
        return
    left_out = [each for each, status in zip(ended, statuses, strict=True) if status is None]
    if left_out:
        station.buffer.doubt(left_out)
    done = [(each, status) for each, status in zip(ended, statuses, strict=True) if status is not None]
    station.held.drop([each.running for each, _ in done])
    report(station.tally, done)


def _take_up(station: Station, request: ClaimRequest, brought: Claimed, claimed: Sequence[HeldJob]) -> None:
    station.bell.answered()
    station.tally.claimed(len(claimed))
    # Some may be left: what is too much at once, and last attempts that would have to wait.
    is_short = brought.has_all(request)
    station.call_size.brought(len(claimed), brought.size)
    station.unclaimable.forget(running.job.id for running in claimed)
    station.marks.claimed([running.job for running in claimed], is_short=is_short, read=request.marks)
    surplus = station.buffer.fill(claimed, free=request.free, is_short=is_short)
    if surplus:
        station.marks.given_back([running.job for running in claimed[-surplus:]])
        settle_and_claim(station, station.buffer.round_trip(), claiming=False)


def claim_suspect(station: Station) -> HeldJob | None:
    """Claim a job that has crashed before; None when none is due, or can be claimed, or the database is away."""
    worker_id = station.lease.worker_id
    if worker_id is None or station.stopping.is_set() or station.unclaimable.is_full:
        return None
    try:
        with station.database.connection() as conn:
            lanes = consume.lanes(conn, queues=station.config.worker_queues, suspect=True)
    except (DatabaseUnavailable, Refusal) as error:
        station.outage.failed(error)
        return None
    marks = [lane.head for lane in lanes if lane.seconds <= 0]
    try:
        request = ClaimRequest(worker_id, consume.new_claim(), marks, 1, 1, suspect=True)
        claimed = _claim_one(station, request, time.monotonic() + SEARCH_SECONDS)
    except Refusal as error:
        station.outage.failed(error)
        return None
    return claimed[0] if claimed else None
