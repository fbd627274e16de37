"""The workers: the state of each, the jobs it holds, recently ended ones; quieting and waking one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.worker import WorkerState
from haulier.postgres.statements import Connection
from haulier.queue.health.ended_workers import (
    EndedOnHost,
    EndedWorker,
    TakenOver,
    ended_on_host,
    list_ended,
    taken_over,
)
from haulier.queue.health.worker_list import Worker, get_worker, list_workers, quiet
from haulier.requests.fields import read_uuid

from ...http.auth import caller
from ..attention.worker_notices import advice_on_memory
from ..kit.flash import Undo, done
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part, read
from ..kit.return_to import asked as asked_place
from ..kit.section import Section
from ..lists.busy_threads import busy_chart, busy_spark, threads_said

MOST, MOST_ENDED, MOST_OTHERS = 50, 5, 200
WHOLE = "a worker may serve every queue"

section = Section("workers", __name__, MenuEntry("System", 10, "Workers", "workers", "w"))


@section.page("/workers", Scope.READ, every=5)
def show() -> Page:
    """Return the workers, newest first."""
    before = read_uuid(request.args.get("older", ""))
    found = kept("a page of workers", (before,), lambda: part(partial(_list, before)))
    workers, has_more = found.value or ([], False)
    return Page(
        "workers.html",
        "Workers",
        is_live=before is None,
        found=found,
        workers=workers,
        ended=kept("ended workers", (), lambda: part(_ended)),
        busy=busy_chart([each for each in workers if each.lives]),
        spark=busy_spark,
        threads_said=threads_said,
        first=url_for("ui.workers.show") if before else None,
        older=url_for("ui.workers.show", older=workers[-1].id) if has_more else None,
    )


def _list(before: UUID | None, conn: Connection) -> tuple[list[Worker], bool]:
    return list_workers(conn, before=before, limit=MOST, queues=caller().queues)


def _ended(conn: Connection) -> Sequence[EndedWorker]:
    return list_ended(conn, limit=MOST_ENDED, queues=caller().queues)


@section.page("/workers/<uuid:worker_id>", Scope.READ, every=5)
def one(worker_id: UUID) -> Page:
    """Return a worker and the jobs it holds."""
    found = read(lambda conn: get_worker(conn, worker_id, queues=caller().queues))
    lacks = kept("kinds of workers", (worker_id,), lambda: part(partial(_lacks, found)))
    is_live = found.state is not WorkerState.GONE or bool(found.jobs)
    return Page(
        "worker.html",
        f"Worker {found.name}"[:100],
        is_live=is_live,
        worker=found,
        lacks=lacks,
        busy=busy_chart([found]),
        growth=advice_on_memory(found),
        threads_said=threads_said,
        others=kept("ended on a host", (found.host,), lambda: part(partial(_ended_on, found.host))),
        taken_over=kept("taken over", (worker_id,), lambda: part(partial(_taken_over, worker_id)))
        if found.taken_over
        else Part(()),
    )


def _ended_on(host: str, conn: Connection) -> EndedOnHost:
    return ended_on_host(conn, host, queues=caller().queues)


def _taken_over(worker_id: UUID, conn: Connection) -> Sequence[TakenOver]:
    return taken_over(conn, worker_id, queues=caller().queues)


def _lacks(worker: Worker, conn: Connection) -> Sequence[str]:
    if worker.kinds is None:
        return ()
    others, _ = list_workers(conn, limit=MOST_OTHERS, queues=caller().queues, counts_jobs=False)
    return sorted({kind for each in others for kind in each.kinds or ()} - set(worker.kinds))


@section.act("/workers/<uuid:worker_id>/quiet", Scope.OPERATE, every_queue=WHOLE)
def silence(worker_id: UUID) -> Response:
    """Quiet the worker: it claims no new jobs."""
    read(lambda conn: quiet(conn, worker_id, True, actor=caller().id))
    undo = Undo("Wake", "workers.wake", {"worker_id": f"{worker_id}"})
    return done("The worker is quiet: it takes no new jobs and finishes the ones it has.", asked_place(), undo)


@section.act("/workers/<uuid:worker_id>/wake", Scope.OPERATE, every_queue=WHOLE)
def wake(worker_id: UUID) -> Response:
    """Wake the worker: it claims jobs again."""
    read(lambda conn: quiet(conn, worker_id, False, actor=caller().id))
    undo = Undo("Quiet", "workers.silence", {"worker_id": f"{worker_id}"})
    return done("The worker is awake: it takes new jobs again.", asked_place(), undo)
