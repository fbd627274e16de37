"""The queues with their states, depths and rates; pausing and resuming one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from flask import request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast, QueueNotFound, TooManyPauses
from haulier.domain.text import number
from haulier.postgres.statements import Connection
from haulier.queue.health.worker_list import Worker
from haulier.queue.numbers.recent import KindFigures, Minute, recent_backlogs
from haulier.queue.numbers.stats import Queue, Stats, find_or_empty, get_queue
from haulier.queue.numbers.stats import Shown as Of
from haulier.queue.queues.pauses import pause as pause_queue
from haulier.queue.queues.pauses import resume as resume_queue
from haulier.queue.stories.producers import KEY, Producers, count_producers
from haulier.queue.stories.upcoming import Upcoming, upcoming

from ...http.acting import check_queue_name
from ...http.auth import caller
from ...http.late_queues import with_lateness
from ...http.service import connection
from ..attention import facts
from ..forms.pausing import NoTime, PauseForm
from ..kit.flash import Undo, done
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part, read
from ..kit.section import Section
from ..kit.templates import url
from ..kit.viewer import viewer
from ..lists import counting
from ..lists.counting import Queues
from ..lists.fleet import Fleet, fleet
from ..lists.queue_states import DUE_FOR, FEW_DUE, Known, QueueRow, needs_look, row_of, worst_first
from ..words import charts
from .kinds import kinds_of
from .overview import asked_span, drawn, tabs

# Read this many queues, and show this many on a page.
MOST_READ, MOST_QUEUES = 200, 50
# Show this many of a queue's kinds on its page. Keep these, the producers and the small charts for this long.
MOST_KINDS, SECONDS = 10, 15.0
NONE = Producers(0, 0, ())

section = Section("queues", __name__, MenuEntry("Work", 50, "Queues", "queues", "q"))


@section.page("/queues", Scope.READ, every=5)
def show() -> Page:
    """Return the queues, the worst first; of more than MOST_READ, those that follow by name come after these."""
    after, offset = request.args.get("after", "")[:64], _offset(request.args.get("from", ""))
    found = kept("queue rows", (after,), lambda: part(partial(_list, after)))
    rows = _rows(*found.value) if found.value else []
    shown = rows[offset : offset + MOST_QUEUES]
    return Page(
        "queues.html",
        "Queues",
        found=found,
        rows=shown,
        sparks=_sparks([row.queue.name for row in shown]),
        failed=_failed(found.value[0].minutes) if found.value else {},
        paused=sum(row.queue.paused for row in rows),
        sees_actors=caller().may_see_actors,
        more=_more(found.value[0], after, offset) if found.value else None,
        is_first=not after and not offset,
    )


def _offset(text: str) -> int:
    """Return how many queues are skipped."""
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else 0


def _more(found: Queues, after: str, offset: int) -> str | None:
    """Return the URL of the page that follows, if one does."""
    end = offset + MOST_QUEUES
    if end < len(found.queues):
        return url("queues.show", after=after, **{"from": end})
    return url("queues.show", after=found.queues[-1].name) if found.more else None


def _list(after: str, conn: Connection) -> tuple[Queues, Fleet]:
    return counting.read_queues(conn, limit=MOST_READ, after=after), fleet(conn)


def _rows(found: Queues, workers: Fleet) -> list[QueueRow]:
    now = viewer().now
    unserved = facts.unserved(workers) if needs_look(found.queues, workers, now) else ()
    known = Known(now, workers, found.minutes, unserved, facts.usual(found.minutes))
    return worst_first(row_of(each, known) for each in found.queues)


def _sparks(names: Sequence[str]) -> Mapping[str, Markup]:
    """Return a small chart of the backlog of each queue in the last hour."""
    # Their order changes often, and must not load them again.
    names = sorted(names)
    if not names or not counting.is_on():
        return {}
    found = kept("backlogs", tuple(names), lambda: part(lambda conn: recent_backlogs(conn, names)), seconds=SECONDS)
    most = {name: max(each or 0 for each in minutes) for name, minutes in (found.value or {}).items()}
    return {
        name: charts.spark(
            [each or 0 for each in minutes],
            "queued",
            f"at most {number(most[name])} due in the last hour",
            least=FEW_DUE,
        )
        for name, minutes in (found.value or {}).items()
    }


def _failed(minutes: Mapping[str, Sequence[Minute]]) -> Mapping[str, tuple[int, int]]:
    """Return how many jobs of each queue failed in the last ten minutes, and how many succeeded or failed."""
    failed = {name: sum(each.failed for each in found) for name, found in minutes.items()}
    return {name: (failed[name], failed[name] + sum(each.succeeded for each in minutes[name])) for name in minutes}


@section.page("/queues/<name>", Scope.READ, every=5)
def one(name: str) -> Page:
    """Return the page of a queue."""
    check_queue_name(name)
    return _page(name)


def _page(name: str, form: PauseForm | None = None, *, fault: str = "", status: int = 200) -> Page:
    queue, is_used = kept("one queue", (name,), partial(read, partial(_find, name=name)))
    span = asked_span()
    figures = kept("queue figures", (name, span), partial(_stats, name, span))
    if not is_used and figures.value:
        # Its zero jobs were counted when the other figures were.
        queue = replace(queue, counted_at=figures.value.as_of)
    found = kept("queue minutes", (name,), partial(_fleet_and_minutes, queue))
    workers, minutes = found.value or (None, ())
    coming = kept("next of queue", (name,), lambda: part(lambda conn: upcoming(conn, name)))
    unserved = _unserved(name, coming.value, workers)
    kinds, has_more_kinds = _kinds(name)
    producers = kept("producers", (name,), partial(_producers, name), seconds=SECONDS)
    # Who enqueued jobs is for those who may act on them.
    hidden = () if caller().may_see_actors else (KEY,)
    known = Known(viewer().now, workers, {name: minutes}, unserved, facts.usual({name: minutes}))
    return Page(
        "queue.html",
        f"Queue {name}",
        status=status,
        row=row_of(queue, known),
        is_used=is_used,
        paused_by=(queue.paused_by or "") if caller().may_see_actors else "",
        paused_for=(queue.paused_for or "") if caller().may_see_actors else "",
        stats=figures,
        tabs=tabs("queues.one", name=name),
        charts=[] if figures.value is None else drawn(figures.value, Of(queue=name)),
        workers=_serving(name, found),
        next=coming,
        producers=producers,
        shown_producers=[each for each in (producers.value or NONE).found if each.what not in hidden],
        kinds=kinds,
        has_more_kinds=has_more_kinds,
        form=form or PauseForm(reason=queue.paused_for or ""),
        fault=fault,
    )


def _find(conn: Connection, name: str) -> tuple[Queue, bool]:
    try:
        return with_lateness(conn, [counting.as_known(get_queue(conn, name))])[0], True
    except QueueNotFound:
        return counting.as_known(find_or_empty(conn, name)), False


def _stats(name: str, span: str) -> Part[Stats]:
    return part(lambda conn: counting.figures(conn, span, Of(queue=name, queues=caller().queues)))


def _fleet_and_minutes(queue: Queue) -> Part[tuple[Fleet, Sequence[Minute]]]:
    return part(lambda conn: (fleet(conn), counting.minutes_of(conn, [queue]).get(queue.name, ())))


def _producers(name: str) -> Part[Producers]:
    return part(lambda conn: count_producers(conn, name))


def _kinds(name: str) -> tuple[Part[Sequence[KindFigures]], bool]:
    """Return the kinds of the queue that had jobs recently, the most due first, and whether there are more."""
    found = kinds_of(name, seconds=SECONDS)
    kinds, has_more = found.value or ([], False)
    shown = sorted(kinds, key=lambda each: (-(each.live.due or 0), -each.last_hour.ended, each.kind))[:MOST_KINDS]
    return Part(None if found.late else shown, found.late), has_more or len(kinds) > MOST_KINDS


def _serving(name: str, found: Part[tuple[Fleet, Sequence[Minute]]]) -> Part[Sequence[Worker]]:
    """Return the workers that take jobs of the queue; nothing if not all workers were read."""
    if found.value is None:
        return Part(None, found.late)
    workers = found.value[0]
    return Part(None) if workers.more else Part(workers.serving(name))


def _unserved(name: str, coming: Upcoming | None, workers: Fleet | None) -> Collection[str]:
    """Return the queue if its next job has been due for a while and no worker takes it, which no count shows."""
    is_due = coming is not None and any(viewer().now - job.run_at > DUE_FOR for job in coming.jobs)
    return (name,) if is_due and workers is not None and workers.leaves(name) else ()


@section.act("/queues/<name>/pause", Scope.OPERATE)
def pause(name: str) -> Response | Page:
    """Pause the queue for a while, until a time, or until it is resumed."""
    check_queue_name(name)
    form = PauseForm.of(request.form)
    try:
        with connection() as conn:
            pause_queue(conn, name, until=form.end(viewer()), actor=caller().id, reason=form.reason)
    except (PauseInThePast, NoTime) as error:
        return _page(name, form.with_fault(error), status=422)
    except TooManyPauses as error:
        return _page(name, form, fault=str(error), status=409)
    undo = Undo("Resume", "queues.resume", {"name": name})
    return done(f"Paused {name}. Running jobs finish; waiting jobs stay queued.", _place(name), undo)


@section.act("/queues/<name>/resume", Scope.OPERATE)
def resume(name: str) -> Response:
    """Resume the queue."""
    check_queue_name(name)
    with connection() as conn:
        resume_queue(conn, name, actor=caller().id)
    return done(f"Resumed {name}.", _place(name))


def _place(name: str) -> str:
    """Return where the form leads: to the queue, or to the list of queues."""
    wanted = request.form.get("next", "")
    return wanted if wanted.startswith(url_for("ui.queues.show")) else url_for("ui.queues.one", name=name)
