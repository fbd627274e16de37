"""The kinds, and how long jobs of each wait and run."""

from __future__ import annotations

import re
from functools import partial

from flask import request, url_for
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection
from haulier.queue.numbers.recent import KindFigures, recent_kind, recent_kinds
from haulier.queue.numbers.stats import Figures, Live, Stats
from haulier.queue.numbers.stats import Shown as Of

from ...http.acting import check_queue_name
from ...http.auth import caller
from ...http.json_text import as_json
from ...http.payload_schema import payload_schema
from ...http.service import service
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part
from ..kit.section import Section
from ..lists import counting
from ..lists.fleet import fleet
from ..words.pretty_json import printed
from ..words.run_times import run_times
from .overview import asked_span, drawn, tabs

MOST_KINDS = 200

section = Section("kinds", __name__, MenuEntry("Work", 60, "Kinds", "kinds", "k"))


@section.page("/kinds", Scope.READ, every=15)
def show() -> Page:
    """Return known kinds and those with jobs, by name; or the kinds of a queue, the most due first."""
    queue, after = request.args.get("queue", "").strip(), request.args.get("after", "")[:64]
    if queue:
        check_queue_name(queue)
    found = kinds_of(queue, after)
    kinds, has_more = found.value or ([], False)
    return Page(
        "kinds.html",
        "Kinds",
        found=found,
        kinds=sorted(kinds, key=lambda each: -(each.live.due or 0)) if queue else kinds,
        known=service().kinds,
        run=_run_kinds().value,
        queue=queue,
        more=url_for("ui.kinds.show", after=kinds[-1].kind, queue=queue or None) if has_more else None,
        is_first=not after,
    )


def kinds_of(queue: str, after: str = "", *, seconds: float | None = None) -> Part[tuple[list[KindFigures], bool]]:
    """Return the kinds of a queue ("": of all) by name, and whether more follow; kept for `seconds`, as by `kept`."""
    return kept("kinds of queue" if queue else "kinds", (queue, after), partial(_list, queue, after), seconds=seconds)


def _list(queue: str, after: str) -> Part[tuple[list[KindFigures], bool]]:
    """Return kinds by name, and whether more follow."""
    queues = [queue] if queue else caller().queues

    def look(conn: Connection) -> tuple[list[KindFigures], bool]:
        found, has_more = recent_kinds(conn, queues=queues, after=after, limit=MOST_KINDS)
        counted = {each.kind: each for each in found}
        names = sorted({*counted, *(() if queue else (name for name in service().kinds if name > after))})
        kinds = [_as_known(name, counted.get(name)) for name in names[:MOST_KINDS]]
        return kinds, has_more or len(names) > MOST_KINDS

    return part(look)


def _as_known(name: str, counted: KindFigures | None) -> KindFigures:
    """Return the figures of a kind: zeros if it has had no job recently, unknown ones if nobody counts."""
    if not counting.is_on():
        return KindFigures(name, Live(), Figures())
    return counted or KindFigures(name, Live(0, 0, 0), Figures())


def _run_kinds() -> Part[set[str] | None]:
    """Return the kinds that live workers run; None if a worker has not said."""

    def look(conn: Connection) -> set[str] | None:
        found = fleet(conn)
        if found.more or any(each.kinds is None for each in found.living):
            return None
        return {name for each in found.living for name in each.kinds or ()}

    return kept("kinds that run", (), lambda: part(look))


@section.page("/kinds/<name>", Scope.READ, every=15)
def one(name: str) -> Page:
    """Return the page of a kind, retired ones included: their jobs lead here for as long as they are kept."""
    # An invalid name may hold a NUL, which cannot be sent to the database.
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotFound("This is not a valid kind name.")
    counted = kept("one kind", (name,), lambda: part(partial(_is_used, name)))
    kind, span = service().kinds.get(name), asked_span()
    figures = kept("kind figures", (name, span), partial(_stats, name, span))
    run = _run_kinds()
    return Page(
        "kind.html",
        f"Kind {name}",
        name=name,
        late=counted.late or run.late,
        is_used=bool(counted.value),
        is_run=None if run.value is None else name in run.value,
        kind=kind,
        schema=None if kind is None else printed(as_json(payload_schema(kind)).encode()),
        stats=figures,
        tabs=tabs("kinds.one", name=name),
        charts=[] if figures.value is None else [*drawn(figures.value, Of(kind=name)), *run_times(figures.value)],
    )


def _is_used(name: str, conn: Connection) -> bool:
    """Return whether the kind has had jobs recently."""
    return recent_kind(conn, name, queues=caller().queues) is not None


def _stats(name: str, span: str) -> Part[Stats]:
    return part(lambda conn: counting.figures(conn, span, Of(kind=name, queues=caller().queues)))
