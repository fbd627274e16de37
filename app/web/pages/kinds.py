"""The kinds: what can be enqueued here, and how long jobs of each wait and run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flask import request
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN
from haulier.domain.worker import WorkerState
from haulier.postgres.statements import Connection
from haulier.queue.produce.recent import KindFigures, recent_kinds
from haulier.queue.produce.stats import Figures, Live, Stats, stats
from haulier.queue.produce.stats import Shown as Of
from haulier.queue.produce.workers import list_workers

from ...http.acting import check_queue_name
from ...http.door import caller
from ...http.json_text import as_json
from ...http.requests import requests
from ...http.service import service
from ..answering import Shown
from ..printed import Printed, printed
from ..rail import Rail
from ..reading import Part, kept, part
from ..section import Section
from .overview import Drawn, asked_span, drawn, tabs

MOST_KINDS, MOST_WORKERS = 200, 200

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
class Kinds:
    """The page. Shape: queue is the one whose jobs alone are counted, the most due first; "": every queue."""

    rows: Part[Sequence[Row]]
    queue: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What this process knows of a kind. Units: seconds; timeout None: a run may last for ever."""

    timeout: int | None
    base_seconds: float
    cap_seconds: float
    needs: Sequence[str]
    is_isolated: bool
    schema: Printed


@dataclass(frozen=True, slots=True)
class KindPage:
    """The page of one kind. Shape: facts are None where this process does not know it."""

    name: str
    row: Row | None
    facts: Facts | None
    stats: Part[Stats]
    tabs: Sequence[tuple[str, str, bool]]
    charts: Sequence[Drawn]


@section.page("/kinds", Scope.READ, every=15)
def show() -> Shown:
    """Return the kinds, by name: those that are known here, and those that have jobs; or those of a queue."""
    queue = request.args.get("queue", "").strip()
    if queue:
        check_queue_name(queue)
    return Shown("kinds.html", Kinds(kept("kinds", (queue,), partial(_rows, queue)), queue), "Kinds")


def _rows(queue: str = "") -> Part[Sequence[Row]]:
    queues = [queue] if queue else caller().queues

    def read_rows(conn: Connection) -> list[Row]:
        counted = {each.kind: each for each in recent_kinds(conn, queues=queues, limit=MOST_KINDS)}
        run = _run_kinds(conn)
        known = service().kinds
        names = sorted({*known, *counted})[:MOST_KINDS]
        if queue:
            names = sorted(counted, key=lambda name: (-(counted[name].live.due or 0), name))
        return [
            Row(
                counted.get(name) or KindFigures(name, Live(0, 0, 0), Figures()),
                name in known,
                None if run is None else name in run,
            )
            for name in names
        ]

    return part(read_rows)


def _run_kinds(conn: Connection) -> set[str] | None:
    """Return the kinds that live workers run; None where that is not known of each of them."""
    workers, has_more = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues)
    alive = [each.kinds for each in workers if each.state is not WorkerState.GONE]
    if has_more or any(each is None for each in alive):
        return None
    return {name for kinds in alive for name in kinds or ()}


@section.page("/kinds/<name>", Scope.READ, every=15)
def one(name: str) -> Shown:
    """Return the page of a kind, also of one that is retired: its jobs lead here for as long as they are kept."""
    # A name that is none cannot be sent to the database: it may hold a NUL.
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotFound("No kind can have this name.")
    rows = kept("kinds", ("",), _rows).value or []
    row = next((each for each in rows if each.figures.kind == name), None)
    facts = _facts(name)
    span = asked_span()
    figures = kept("kind figures", (name, span), partial(_stats, name, span))
    charts = [] if figures.value is None else drawn(figures.value)
    page = KindPage(name, row, facts, figures, tabs("ui.kinds.one", name=name), charts)
    return Shown("kind.html", page, f"Kind {name}")


def _stats(name: str, span: str) -> Part[Stats]:
    return part(lambda conn: stats(conn, span, Of(kind=name, queues=caller().queues)))


def _facts(name: str) -> Facts | None:
    kind = service().kinds.get(name)
    if kind is None:
        return None
    schema = printed(as_json(requests().payload_schema(kind)).encode())
    retry = kind.retry
    return Facts(kind.timeout, retry.base, retry.cap, tuple(each.upper() for each in kind.needs), kind.isolated, schema)
