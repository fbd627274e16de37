"""The kinds: what can be enqueued here, and how long jobs of each wait and run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flask import request, url_for
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection
from haulier.queue.produce.recent import KindFigures, recent_kind, recent_kinds
from haulier.queue.produce.stats import Figures, Live, Stats
from haulier.queue.produce.stats import Shown as Of

from ...http.acting import check_queue_name
from ...http.door import caller
from ...http.json_text import as_json
from ...http.requests import requests
from ...http.service import service
from .. import counting
from ..answering import Page
from ..fleet import fleet
from ..printed import Printed, printed
from ..rail import Rail
from ..reading import Part, kept, part
from ..section import Section
from .overview import asked_span, drawn, tabs

MOST_KINDS = 200

section = Section("kinds", __name__, Rail("Work", 60, "Kinds", "kinds", "k"))


@dataclass(frozen=True, slots=True)
class Row:
    """A kind as the list shows it.

    Shape: is_here: this process knows it. is_run: a live worker does; None: not known.
    """

    figures: KindFigures
    is_here: bool
    is_run: bool | None


@dataclass(frozen=True, slots=True)
class Listed:
    """Some kinds, by name. Shape: last is the last of them, where others follow."""

    rows: Sequence[Row]
    last: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What this process knows of a kind. Units: seconds; timeout None: a run may last for ever."""

    timeout: int | None
    base_seconds: float
    cap_seconds: float
    needs: Sequence[str]
    is_isolated: bool
    schema: Printed


@section.page("/kinds", Scope.READ, every=15)
def show() -> Page:
    """Return the kinds, by name: those that are known here, and those that have jobs; or those of a queue."""
    queue, after = request.args.get("queue", "").strip(), request.args.get("after", "")[:64]
    if queue:
        check_queue_name(queue)
    found = kept("kinds", (queue, after), partial(_rows, queue, after))
    listed = found.value or Listed((), None)
    rows: Part[Sequence[Row]] = Part(None, found.late) if found.value is None else Part(_in_order(listed.rows, queue))
    more = url_for("ui.kinds.show", after=listed.last, queue=queue or None) if listed.last else None
    return Page("kinds.html", "Kinds", rows=rows, queue=queue, more=more, is_first=not after)


def _rows(queue: str, after: str) -> Part[Listed]:
    queues = [queue] if queue else caller().queues

    def read_rows(conn: Connection) -> Listed:
        found, has_more = recent_kinds(conn, queues=queues, after=after, limit=MOST_KINDS)
        counted = {each.kind: each for each in found}
        known = () if queue else [name for name in service().kinds if name > after]
        names = sorted({*known, *counted})
        run = _run_kinds(conn)
        shown = [_row(name, counted.get(name), run) for name in names[:MOST_KINDS]]
        has_more = has_more or len(names) > MOST_KINDS
        return Listed(shown, names[:MOST_KINDS][-1] if has_more else None)

    return part(read_rows)


def _in_order(rows: Sequence[Row], queue: str) -> Sequence[Row]:
    """Return the kinds of a queue with the most due first."""
    return sorted(rows, key=lambda row: -(row.figures.live.due or 0)) if queue else rows


def _row(name: str, counted: KindFigures | None, run: set[str] | None) -> Row:
    figures = counted or KindFigures(name, Live(0, 0, 0), Figures())
    if not counting.is_on():
        figures = KindFigures(name, Live(), Figures())
    return Row(figures, name in service().kinds, None if run is None else name in run)


def _run_kinds(conn: Connection) -> set[str] | None:
    """Return the kinds that live workers run; None where that is not known of each of them."""
    found = fleet(conn)
    alive = [each.kinds for each in found.living]
    if found.more or any(each is None for each in alive):
        return None
    return {name for kinds in alive for name in kinds or ()}


@section.page("/kinds/<name>", Scope.READ, every=15)
def one(name: str) -> Page:
    """Return the page of a kind, also of one that is retired: its jobs lead here for as long as they are kept."""
    # A name that is none cannot be sent to the database: it may hold a NUL.
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotFound("No kind can have this name.")
    found = kept("one kind", (name,), partial(_find, name))
    facts = _facts(name)
    span = asked_span()
    figures = kept("kind figures", (name, span), partial(_stats, name, span))
    charts = [] if figures.value is None else drawn(figures.value)
    return Page(
        "kind.html",
        f"Kind {name}",
        name=name,
        row=found,
        facts=facts,
        stats=figures,
        tabs=tabs("ui.kinds.one", name=name),
        charts=charts,
    )


def _find(name: str) -> Part[Row | None]:
    def read_row(conn: Connection) -> Row | None:
        counted = recent_kind(conn, name, queues=caller().queues)
        return _row(name, counted, _run_kinds(conn)) if counted or name in service().kinds else None

    return part(read_row)


def _stats(name: str, span: str) -> Part[Stats]:
    return part(lambda conn: counting.figures(conn, span, Of(kind=name, queues=caller().queues)))


def _facts(name: str) -> Facts | None:
    kind = service().kinds.get(name)
    if kind is None:
        return None
    schema = printed(as_json(requests().payload_schema(kind)).encode())
    retry = kind.retry
    return Facts(kind.timeout, retry.base, retry.cap, tuple(each.upper() for each in kind.needs), kind.isolated, schema)
