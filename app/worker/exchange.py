"""The one call that serves the whole process: settle what has ended, claim what can be started."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import uuid4

from app.domain.errors import DatabaseUnavailable, Locked
from app.domain.job import Job, JobStatus
from app.domain.outcome import Outcome
from app.kinds import JobContext
from app.queue import consume
from app.queue.connection import translated
from app.queue.consume import Settlement, Wish
from app.worker.buffer import Ended, Place
from app.worker.execute import job_fields
from app.worker.holdings import Running
from app.worker.report import report
from app.worker.station import Station

# For the row of one outcome, while the others wait. A cancel holds it for a millisecond or two.
ROW_SECONDS = 0.2

log = logging.getLogger(__name__)


def exchange(station: Station, place: Place, *, claiming: bool) -> int | None:
    """Settle and claim in one round trip; return how many jobs were claimed, or None when the database is away."""
    ended = place.ended
    wish = _wish(station, place) if claiming else None
    if not ended and wish is None:
        return 0
    claimed: list[Running] = []
    if wish is not None:
        station.holdings.begin_claim(wish.claim_id)
    try:
        with station.database.connection() as conn:
            statuses, jobs = consume.exchange(conn, _settlements(ended), wish)
        claimed = [running_of(station, job) for job in jobs]
    except DatabaseUnavailable as error:
        _cut_off(station, ended, error)
        return None
    # Whatever the database will not store, the others must not wait for it.
    except Exception:
        if not ended:
            raise
        log.warning("a batch of %d outcomes could not be settled: each is settled by itself", len(ended), exc_info=True)
        _mark_unsure(ended)
        station.buffer.doubt(ended)
        return 0
    finally:
        if wish is not None:
            station.holdings.end_claim(wish.claim_id, claimed)
    station.outage.succeeded()
    settled(station, ended, statuses)
    if wish is not None:
        _take_up(station, wish, claimed)
    return len(claimed)


def _wish(station: Station, place: Place) -> Wish | None:
    worker_id = station.lease.worker_id
    marks = station.lanes.marks()
    if worker_id is None or station.stopping.is_set() or not marks or not place.limit:
        return None
    return Wish(worker_id, uuid4(), marks, place.limit, place.free)


def _settlements(ended: Sequence[Ended]) -> list[Settlement]:
    return [Settlement(each.running.fence, each.outcome) for each in ended]


def running_of(station: Station, job: Job) -> Running:
    """Return the claimed job as this process holds it."""
    kind = station.kinds.get(job.kind)
    timeout = job.timeout_seconds or (kind.timeout if kind else None)
    return Running(job, JobContext(job, station.config), timeout, is_known=kind is not None)


def _cut_off(station: Station, ended: Sequence[Ended], error: DatabaseUnavailable) -> None:
    station.outage.failed(error)
    _mark_unsure(ended)
    station.buffer.put_back(ended)
    # Whether the claim was committed is unknown: the pulse looks, and gives back what nobody holds.
    station.pulse_wanted.set()


def _mark_unsure(ended: Sequence[Ended]) -> None:
    for each in ended:
        each.running.is_unsure = True


def settled(station: Station, ended: Sequence[Ended], statuses: Sequence[JobStatus | None]) -> None:
    """Let go of what has been settled, and say so; the clerk sees to what was left out."""
    if not ended:
        return
    left_out = [each for each, status in zip(ended, statuses, strict=True) if status is None]
    if left_out:
        station.buffer.doubt(left_out)
    done = [(each, status) for each, status in zip(ended, statuses, strict=True) if status is not None]
    station.holdings.drop([each.running for each, _ in done])
    report(station.tally, done)


def _take_up(station: Station, wish: Wish, claimed: Sequence[Running]) -> None:
    station.lookout.answered()
    station.tally.claimed(len(claimed))
    is_short = len(claimed) < wish.limit
    station.lanes.claimed([running.job for running in claimed], is_short=is_short)
    surplus = station.buffer.fill(claimed, free=wish.free, is_short=is_short)
    if surplus:
        station.lanes.given_back([running.job for running in claimed[-surplus:]])
        exchange(station, station.buffer.place(), claiming=False)


def claim_suspect(station: Station) -> Running | None:
    """Claim a job that has crashed before; None when none is due, or the database is away."""
    worker_id, claim_id = station.lease.worker_id, uuid4()
    if worker_id is None or station.stopping.is_set():
        return None
    claimed: list[Running] = []
    station.holdings.begin_claim(claim_id)
    try:
        with station.database.connection() as conn:
            queues = station.config.worker_queues
            jobs = consume.claim(conn, worker_id=worker_id, claim_id=claim_id, queues=queues, suspect=True)
        claimed = [running_of(station, job) for job in jobs]
    except DatabaseUnavailable as error:
        _cut_off(station, [], error)
    finally:
        station.holdings.end_claim(claim_id, claimed)
    return claimed[0] if claimed else None


def settle_alone(station: Station, ended: Ended) -> None:
    """Settle one run by itself, waiting a little for its row if need be. Raises: Locked; DatabaseUnavailable."""
    running, outcome = ended.running, ended.outcome
    with station.database.connection() as conn:
        try:
            settlement = Settlement(running.fence, outcome)
            # Here, so that an outage is not taken for an outcome that cannot be stored.
            with translated():
                status = consume.settle(conn, [settlement], lock_seconds=ROW_SECONDS).get(running.job.id)
        except Locked:
            raise
        except DatabaseUnavailable:
            running.is_unsure = True
            raise
        # Whatever the database will not store, the job must not stay running for ever.
        except Exception:
            log.exception("an outcome could not be settled", extra=job_fields(running.job))
            outcome = Outcome.fail_for_good("the outcome of the run could not be stored; the worker's log has why")
            status = consume.settle(conn, [Settlement(running.fence, outcome)]).get(running.job.id)
        if status is None and running.is_unsure:
            status = consume.settled_earlier(conn, running.fence)
    station.holdings.drop([running])
    report(station.tally, [(ended._replace(outcome=outcome), status)])
