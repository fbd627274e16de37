"""The queues: how each is, in a word, its depth and its rates; and letting no job of one start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast, QueueNotFound, TooManyPauses
from haulier.postgres.statements import Connection
from haulier.queue.produce.pauses import pause as pause_queue
from haulier.queue.produce.pauses import resume as resume_queue
from haulier.queue.produce.recent import Minute, recent_minutes
from haulier.queue.produce.stats import Queue, Stats, find_or_empty, get_queue, list_queues, stats
from haulier.queue.produce.stats import Shown as Of
from haulier.queue.produce.upcoming import Upcoming, upcoming
from haulier.queue.produce.workers import Worker, list_workers

from ...http.acting import check_queue_name
from ...http.door import caller
from ...http.service import connection
from ..answering import Shown
from ..pausing import NoTime, PauseForm
from ..queue_states import QueueRow, row_of, serving
from ..rail import Rail
from ..reading import Part, kept, part, read
from ..saying import done
from ..section import Section
from ..viewer import viewer
from .overview import Drawn, asked_span, drawn, tabs

MOST_QUEUES, MOST_WORKERS = 50, 200

section = Section("queues", __name__, Rail("Work", 50, "Queues", "queues", "q"))


@dataclass(frozen=True, slots=True)
class Queues:
    """The page. Shape: more is the page of those that follow."""

    rows: Part[Sequence[QueueRow]]
    more: str | None
    is_first: bool
    paused: int


@dataclass(frozen=True, slots=True)
class QueuePage:
    """The page of one queue. Shape: is_used tells that there is such a queue; paused_by is "" where that is hidden."""

    row: QueueRow
    is_used: bool
    paused_by: str
    stats: Part[Stats]
    tabs: Sequence[tuple[str, str, bool]]
    charts: Sequence[Drawn]
    workers: Part[Sequence[Worker]]
    next: Part[Upcoming]
    form: PauseForm
    fault: str


@section.page("/queues", Scope.READ, every=5)
def show() -> Shown:
    """Return the queues, by name."""
    after = request.args.get("after", "")[:64]
    found = kept("queue rows", (after,), partial(_rows, after))
    rows, has_more = found.value or ([], False)
    more = url_for("ui.queues.show", after=rows[-1].queue.name) if has_more else None
    paused = sum(each.queue.paused for each in rows)
    shown: Part[Sequence[QueueRow]] = Part(None, found.late) if found.value is None else Part(rows)
    return Shown("queues.html", Queues(shown, more, not after, paused), "Queues")


def _rows(after: str) -> Part[tuple[list[QueueRow], bool]]:
    def read_rows(conn: Connection) -> tuple[list[QueueRow], bool]:
        queues, has_more = list_queues(conn, after=after, limit=MOST_QUEUES, queues=caller().queues)
        minutes = recent_minutes(conn, [each.name for each in queues])
        workers = _workers(conn)
        return [row_of(each, workers, minutes.get(each.name, ())) for each in queues], has_more

    return part(read_rows)


def _workers(conn: Connection) -> list[Worker] | None:
    """Return all live workers; None where there are more than are looked at."""
    found, has_more = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues)
    return None if has_more else found


@section.page("/queues/<name>", Scope.READ, every=5)
def one(name: str) -> Shown:
    """Return the page of a queue."""
    check_queue_name(name)
    return _page(name)


def _page(name: str, form: PauseForm | None = None, *, fault: str = "", status: int = 200) -> Shown:
    queue, is_used = kept("one queue", (name,), partial(read, partial(_find, name=name)))
    span = asked_span()
    figures = kept("queue figures", (name, span), partial(_stats, name, span))
    found = kept("queue minutes", (name,), partial(_serving_and_minutes, name))
    workers, minutes = found.value or (None, ())
    page = QueuePage(
        row=row_of(queue, workers, minutes),
        is_used=is_used,
        paused_by=(queue.paused_by or "") if caller().may_see_actors else "",
        stats=figures,
        tabs=tabs("ui.queues.one", name=name),
        charts=[] if figures.value is None else drawn(figures.value),
        workers=Part(None, found.late) if workers is None else Part(serving(name, workers)),
        next=kept("next of queue", (name,), lambda: part(lambda conn: upcoming(conn, name))),
        form=form or PauseForm(),
        fault=fault,
    )
    return Shown("queue.html", page, f"Queue {name}", status=status)


def _find(conn: Connection, name: str) -> tuple[Queue, bool]:
    try:
        return get_queue(conn, name), True
    except QueueNotFound:
        return find_or_empty(conn, name), False


def _stats(name: str, span: str) -> Part[Stats]:
    return part(lambda conn: stats(conn, span, Of(queue=name, queues=caller().queues)))


def _serving_and_minutes(name: str) -> Part[tuple[list[Worker] | None, Sequence[Minute]]]:
    return part(lambda conn: (_workers(conn), recent_minutes(conn, [name]).get(name, ())))


@section.act("/queues/<name>/pause", Scope.OPERATE)
def pause(name: str) -> Response | Shown:
    """Let no job of the queue start, for so long, until a time, or until it is resumed."""
    check_queue_name(name)
    form = PauseForm.of(request.form)
    try:
        with connection() as conn:
            pause_queue(conn, name, until=form.end(viewer()), actor=caller().id)
    except (PauseInThePast, NoTime) as error:
        return _page(name, form.with_fault(error), status=422)
    except TooManyPauses as error:
        return _page(name, form, fault=str(error), status=409)
    return done(f"Paused {name}. Jobs that run go on; new ones wait.", _place(name))


@section.act("/queues/<name>/resume", Scope.OPERATE)
def resume(name: str) -> Response:
    """Let the jobs of the queue start again."""
    check_queue_name(name)
    with connection() as conn:
        resume_queue(conn, name, actor=caller().id)
    return done(f"Resumed {name}.", _place(name))


def _place(name: str) -> str:
    """Return where the form wants to lead: to the queue, or to the list of them."""
    wanted = request.form.get("next", "")
    return wanted if wanted.startswith("/ui/queues") else url_for("ui.queues.one", name=name)
