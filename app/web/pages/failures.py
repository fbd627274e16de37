"""What fails, in groups by error: all groups of a span, and one of them with its jobs, which can be muted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN, JobStatus
from haulier.domain.span import SPANS
from haulier.domain.text import count, cut, number
from haulier.postgres.statements import Connection
from haulier.queue.produce.errors import (
    ErrorFilter,
    ErrorGroup,
    frequent_errors,
    get_error,
    id_in,
    mute,
)
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look import list_jobs
from haulier.queue.rows import StoredJob

from ...http.door import caller
from ...http.masking import error_as_shown, errors_as_shown, masked_kinds
from .. import charts
from ..answering import Page
from ..charts import Chart, Series
from ..error_jobs import counts_of, retry_labels
from ..places import asked as asked_place
from ..rail import Rail
from ..reading import PART_SECONDS, Part, kept, part, read, searched
from ..saying import Undo, done
from ..section import Section
from ..shown import DAY_SECONDS, clock, exact
from ..times import read_duration
from ..viewer import viewer

# As many groups as are masked by one statement. Of an error a list shows the beginning, its own page all.
MOST_GROUPS, MOST_JOBS, MOST_TEXT, MOST_SHOWN = 25, 50, 200, 200
SEARCH_SECONDS = 1.0
# Nobody looks through more groups than this.
MOST_OFFSET = 100_000
TABS = {"1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
MUTED = {"": "All", "no": "Not muted", "yes": "Muted"}
MUTES = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
WHOLE = "a group of errors is that of every queue"

section = Section("failures", __name__, Rail("Work", 40, "Failures", "failures", "f"))


@dataclass(frozen=True, slots=True)
class Asked:
    """What the URL asks for; "" where it does not."""

    span: str
    kind: str
    queue: str
    text: str
    muted: str

    @property
    def is_filtered(self) -> bool:
        """Tell whether some groups of the span are left out."""
        return bool(self.kind or self.queue or self.text or self.muted)

    def query(self, **changes: str) -> dict[str, str]:
        """Return the query of this page, or of a like one."""
        names = ("span", "kind", "queue", "text", "muted")
        return {name: text for name in names if (text := changes.get(name, getattr(self, name)))}


@dataclass(frozen=True, slots=True)
class Group:
    """A group as the list shows it.

    Shape: text is the beginning; spark is of all failed attempts; is_new: first seen within the span.
    """

    id: int
    name: str
    kind: str
    text: str
    failed: int
    retried: int
    first_seen: datetime
    last_seen: datetime
    is_new: bool
    muted_until: datetime | None
    spark: Markup


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups, the most frequent first. Shape: count, failed and retried are of all groups that match."""

    groups: Sequence[Group]
    count: int
    failed: int
    retried: int


@dataclass(frozen=True, slots=True)
class Row:
    """A job of a group. Shape: worker is that which ran its last failed attempt, "" where that is not known."""

    id: UUID
    status: JobStatus
    queue: str
    attempts: int
    max_attempts: int
    created_at: datetime
    finished_at: datetime | None
    worker: str


@dataclass(frozen=True, slots=True)
class InQueue:
    """How often a group failed in a queue. Shape: the sparks of all its queues have one scale."""

    queue: str
    failed: int
    retried: int
    spark: Markup


@section.page("/failures", Scope.READ, every=5)
def show() -> Page:
    """Return the groups that were seen in a span."""
    asked, odd = _asked()
    offset = _offset(request.args.get("from", ""))
    found = kept("failures", (asked, offset), partial(_groups, asked, offset))
    end = offset + MOST_GROUPS
    return Page(
        "failures.html",
        "Failures",
        is_live=not offset,
        asked=asked,
        odd=odd,
        found=found,
        retry=retry_labels({each.id: each.failed for each in found.value.groups} if found.value else {}),
        tabs=[(_at(asked, span=name), text, name == asked.span) for name, text in TABS.items()],
        mutings=[(_at(asked, muted=name), text, name == asked.muted) for name, text in MUTED.items()],
        offset=offset,
        before=_at(asked, max(0, offset - MOST_GROUPS)) if offset else None,
        after=_at(asked, end) if found.value and found.value.count > end else None,
    )


def _at(asked: Asked, offset: int = 0, **changes: str) -> str:
    query = {**asked.query(**changes), **({"from": str(offset)} if offset else {})}
    return url_for("ui.failures.show") + (f"?{urlencode(query)}" if query else "")


def _asked() -> tuple[Asked, str]:
    given = {name: request.args.get(name, "").strip()[:MOST_TEXT] for name in ("kind", "queue", "text", "muted")}
    names = {name: given[name] for name in ("kind", "queue")}
    odd = [f"{name} {text}" for name, text in names.items() if text and not re.fullmatch(NAME_PATTERN, text)]
    muted = given["muted"] if given["muted"] in MUTED else ""
    kind, queue = ("" if f"{name} {text}" in odd else text for name, text in names.items())
    return Asked(_span("1h"), kind, queue, given["text"], muted), ", ".join(odd)


def _span(usual: str) -> str:
    span = request.args.get("span", usual)
    return span if span in SPANS else usual


def _offset(text: str) -> int:
    """Return how many groups are passed over."""
    return min(int(text), MOST_OFFSET) if re.fullmatch("[0-9]{1,9}", text) else 0


def _groups(asked: Asked, offset: int) -> Part[Groups]:
    queues, by = caller().queues, viewer()
    is_muted = (asked.muted == "yes") if asked.muted else None

    def look(conn: Connection) -> Groups:
        wanted = ErrorFilter(
            asked.span,
            asked.kind or None,
            asked.queue or None,
            asked.text or None,
            queues,
            limit=MOST_GROUPS,
            masked_kinds=masked_kinds(),
        )
        found = frequent_errors(conn, wanted, is_muted=is_muted, offset=offset)
        shown = [_group(each, asked.span, by.now) for each in errors_as_shown(conn, found.groups)]
        return Groups(shown, found.count, found.failed, found.retried)

    # Texts are looked for in each group, of which there may be thousands; as a search they may take longer.
    return part(look, seconds=SEARCH_SECONDS if asked.text else PART_SECONDS)


def _group(group: ErrorGroup, span: str, now: datetime) -> Group:
    values = [step.failed + step.retried for step in group.series]
    return Group(
        group.id,
        group.name,
        group.kind,
        cut(group.text, MOST_SHOWN),
        group.failed,
        group.retried,
        group.first_seen,
        group.last_seen,
        _is_new(group, span, now),
        group.muted_until if group.muted_until and group.muted_until > now else None,
        charts.spark(values, "failed", f"{count(sum(values), 'failed attempt')} in this time"),
    )


def _is_new(group: ErrorGroup, span: str, now: datetime) -> bool:
    return (now - group.first_seen).total_seconds() < SPANS[span][0]


@section.page("/failures/<error_id>", Scope.READ, every=5)
def one(error_id: str) -> Page:
    """Return a group, and its newest jobs."""
    number_, span, queues = id_in(error_id), _span("24h"), caller().queues

    def look(conn: Connection) -> ErrorGroup:
        return error_as_shown(conn, get_error(conn, number_, ErrorFilter(span, queues=queues)))

    group = kept("failure", (number_, span), partial(read, look))
    now = viewer().now
    jobs = kept("jobs of failure", (number_,), lambda: searched(partial(_jobs, number_)))
    return Page(
        "failure_group.html",
        f"{group.kind}: {group.text}"[:100],
        group=group,
        queues=_in_queues(group),
        is_new=_is_new(group, span, now),
        tabs=[
            (url_for("ui.failures.one", error_id=group.name, span=name), text, name == span)
            for name, text in TABS.items()
        ],
        chart=_drawn(group, span),
        jobs=jobs,
        workers=Counter(job.worker for job in jobs.value or () if job.worker).most_common(),
        counts=counts_of(number_),
        mutes=MUTES,
        is_muted=group.muted_until is not None and group.muted_until > now,
    )


def _jobs(error_id: int, conn: Connection) -> Sequence[Row]:
    return [_row(job) for job in list_jobs(conn, JobFilter(error_id=error_id, queues=_own(), limit=MOST_JOBS)).jobs]


def _row(job: StoredJob) -> Row:
    worker = job.errors[-1]["worker"] if job.errors else None
    return Row(
        job.id,
        job.status,
        job.queue,
        job.attempts,
        job.max_attempts,
        job.created_at,
        job.finished_at,
        str(worker or ""),
    )


def _own() -> list[str] | None:
    queues = caller().queues
    return None if queues is None else list(queues)


def _drawn(group: ErrorGroup, span: str) -> tuple[Markup, Markup, Markup] | None:
    # The last step is not over, and would always look like a fall; of a group that is new it is all there is.
    zone, now, steps = viewer().prefers.time_zone, viewer().now, group.series
    series = [
        Series("Failed for good", "failed", [step.failed for step in steps], "columns"),
        Series("To be retried", "retrying", [step.retried for step in steps], "columns"),
    ]
    is_short = SPANS[span][0] <= DAY_SECONDS
    times = [clock(step.at, zone)[:5] if is_short else exact(step.at, zone, now)[:-3] for step in steps]
    told = f"Failed attempts: {number(group.failed)} for good, {number(group.retried)} to be retried."
    chart = Chart("Failed attempts", "by time", series, times, f"{told} Arrow keys read it.")
    if chart.is_empty:
        return None
    return charts.legend(chart, number), charts.plot(chart, number), charts.table(chart, number)


def _in_queues(group: ErrorGroup) -> list[InQueue]:
    found = [(each, [step.failed + step.retried for step in each.series]) for each in group.queues or ()]
    most = max((value for _, course in found for value in charts.summed(course)), default=1)
    return [InQueue(each.queue, each.failed, each.retried, _course(each.queue, course, most)) for each, course in found]


def _course(queue: str, course: Sequence[int], most: float) -> Markup:
    told = f"{count(sum(course), 'failed attempt')} in {queue}"
    return charts.spark(course, "failed", told, least=most)


@section.act("/failures/<error_id>/mute", Scope.OPERATE, every_queue=WHOLE)
def silence(error_id: str) -> Response:
    """Mute it for a while."""
    text = request.form.get("for", "")
    duration = read_duration(text) if text in MUTES else None
    if duration is None:
        return _back("Not muted: it was not said for how long.", error_id)
    _mute(error_id, viewer().now + duration)
    undo = Undo("Mute it no longer", "failures.unmute", {"error_id": error_id})
    return _back(f"Muted for {MUTES[text]}: what needs attention leaves it out.", error_id, undo)


@section.act("/failures/<error_id>/unmute", Scope.OPERATE, every_queue=WHOLE)
def unmute(error_id: str) -> Response:
    """Mute it no longer."""
    _mute(error_id, None)
    return _back("No longer muted.", error_id)


def _mute(error_id: str, until: Any) -> None:
    read(lambda conn: mute(conn, id_in(error_id), until, actor=caller().id))


def _back(sentence: str, error_id: str, undo: Undo | None = None) -> Response:
    place = asked_place() if "next" in request.form else url_for("ui.failures.one", error_id=error_id)
    return done(sentence, place, undo)
