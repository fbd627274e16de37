"""Failures by error: the groups of a span, one group with its jobs, and muting it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from flask import request
from markupsafe import Markup
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN
from haulier.domain.span import SPANS
from haulier.domain.text import count, cut, number
from haulier.postgres.statements import Connection
from haulier.queue.failures.error_groups import (
    ErrorFilter,
    ErrorGroup,
    ErrorsOfQueue,
    Frequent,
    frequent_errors,
    get_error,
    id_in,
    mute,
)
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import list_jobs

from ...http.auth import caller
from ...http.masking import as_shown, error_as_shown, errors_as_shown, masked_kinds
from ..attention.notices import is_muted
from ..kit.flash import Undo, done
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import PART_SECONDS, Part, kept, part, read, searched
from ..kit.return_to import asked as asked_place
from ..kit.section import Section
from ..kit.templates import url
from ..kit.viewer import viewer
from ..lists.deployments import marks
from ..lists.error_jobs import count_text, counts_of, retry_labels
from ..lists.rows import listed
from ..words import charts
from ..words.charts import Chart, Series, Span
from ..words.filters import DAY_SECONDS, clock, exact, read_duration

# One statement masks as many groups. A list shows MOST_SHOWN characters of an error, its own page shows all.
MOST_GROUPS, MOST_JOBS, MOST_TEXT, MOST_SHOWN = 25, 50, 200, 200
SEARCH_SECONDS = 1.0
# Nobody looks through more groups than this.
MOST_OFFSET = 100_000
TABS = {"1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
MUTED = {"": "All", "no": "Not muted", "yes": "Muted"}
MUTES = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
WHOLE = "an error group covers every queue"

section = Section("failures", __name__, MenuEntry("Work", 40, "Failures", "failures", "f"))


@section.page("/failures", Scope.READ, every=5)
def show() -> Page:
    """Return the groups that failed in a span."""
    asked, odd = _asked()
    offset, at = _offset(request.args.get("from", "")), partial(_at, asked)
    found = kept("failures", (*asked.items(), offset), partial(_groups, asked, offset))
    frequent, sparks = found.value or (None, {})
    end = offset + MOST_GROUPS
    return Page(
        "failures.html",
        "Failures",
        is_live=not offset,
        asked=asked,
        odd=odd,
        at=at,
        found=found,
        frequent=frequent,
        sparks=sparks,
        is_new=partial(_is_new, span=asked["span"], now=viewer().now),
        is_muted=partial(is_muted, now=viewer().now),
        retry=retry_labels({each.id: each.failed for each in frequent.groups} if frequent else {}),
        tabs=[(at(span=name), text, name == asked["span"]) for name, text in TABS.items()],
        mutings=[(at(muted=name), text, name == asked["muted"]) for name, text in MUTED.items()],
        offset=offset,
        before=at(offset=max(0, offset - MOST_GROUPS)) if offset else None,
        after=at(offset=end) if frequent and frequent.count > end else None,
    )


def _at(asked: Mapping[str, str], *, offset: int = 0, **changes: str) -> str:
    """Return the URL of the list with these filters."""
    return url("failures.show", **{**asked, **changes, "from": offset or None})


def _asked() -> tuple[Mapping[str, str], str]:
    """Return the filters in the URL, "" for those that are not there, and which of them are invalid."""
    given = {name: request.args.get(name, "").strip()[:MOST_TEXT] for name in ("kind", "queue", "text", "muted")}
    odd = [name for name in ("kind", "queue") if given[name] and not re.fullmatch(NAME_PATTERN, given[name])]
    kept_ = {**given, **dict.fromkeys(odd, ""), "muted": given["muted"] if given["muted"] in MUTED else ""}
    return {"span": _span("1h"), **kept_}, ", ".join(f"{name} {given[name]}" for name in odd)


def _span(usual: str) -> str:
    span = request.args.get("span", usual)
    return span if span in SPANS else usual


def _offset(text: str) -> int:
    """Return how many groups are skipped."""
    return min(int(text), MOST_OFFSET) if re.fullmatch("[0-9]{1,9}", text) else 0


def _groups(asked: Mapping[str, str], offset: int) -> Part[tuple[Frequent, Mapping[int, Markup]]]:
    """Return the groups, and a small chart of all failed attempts of each."""
    muted = (asked["muted"] == "yes") if asked["muted"] else None
    wanted = ErrorFilter(
        asked["span"],
        asked["kind"] or None,
        asked["queue"] or None,
        asked["text"] or None,
        caller().queues,
        limit=MOST_GROUPS,
        masked_kinds=masked_kinds(),
    )

    def look(conn: Connection) -> tuple[Frequent, Mapping[int, Markup]]:
        found = frequent_errors(conn, wanted, is_muted=muted, offset=offset)
        groups = errors_as_shown(conn, found.groups)
        # Keep only what the list shows: an example may have kilobytes.
        shown = [replace(each, text=cut(each.text, MOST_SHOWN), example=None, series=()) for each in groups]
        return replace(found, groups=shown), {each.id: charts.spark_of(each, "this period") for each in groups}

    # A text is searched for in each group, of which there may be thousands, so it may take as long as a search.
    return part(look, seconds=SEARCH_SECONDS if asked["text"] else PART_SECONDS)


def _is_new(group: ErrorGroup, span: str, now: datetime) -> bool:
    """Return whether the group was first seen within the span."""
    return (now - group.first_seen).total_seconds() < SPANS[span][0]


@section.page("/failures/<error_id>", Scope.READ, every=5)
def one(error_id: str) -> Page:
    """Return the page of a group with its newest jobs."""
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
        tabs=[(url("failures.one", error_id=group.name, span=name), text, name == span) for name, text in TABS.items()],
        chart=_drawn(group, span),
        jobs=jobs,
        workers=Counter(worker for _, worker in jobs.value or () if worker).most_common(),
        counts=counts_of(number_).value,
        count_text=count_text,
        mutes=MUTES,
        is_muted=is_muted(group, now),
    )


def _jobs(error_id: int, conn: Connection) -> Sequence[tuple[StoredJob, str]]:
    """Return the newest jobs of a group, each with the worker of its last failed attempt, or ""."""
    found = list_jobs(conn, JobFilter(error_id=error_id, queues=_own(), limit=MOST_JOBS)).jobs
    return [(listed(as_shown(job)), str(job.errors[-1]["worker"] or "") if job.errors else "") for job in found]


def _own() -> list[str] | None:
    queues = caller().queues
    return None if queues is None else list(queues)


def _drawn(group: ErrorGroup, span: str) -> Markup:
    # With the last step, which is unfinished: for a new group it is all there is.
    zone, now, steps = viewer().prefers.time_zone, viewer().now, group.series
    series = [
        Series("Failed", "failed", [step.failed for step in steps], "columns"),
        Series("Retried", "retrying", [step.retried for step in steps], "columns"),
    ]
    is_short = SPANS[span][0] <= DAY_SECONDS
    times = [clock(step.at, zone)[:5] if is_short else exact(step.at, zone, now)[:-3] for step in steps]
    text = f"Attempts: {number(group.failed)} failed, {number(group.retried)} retried."
    jobs = url("jobs.show", status="failed_permanent", error=group.name, ended_after="FROM", ended_before="TO")
    of_jobs = Span.of([step.at for step in steps], jobs, "Jobs that failed", marks())
    return charts.figure(Chart("Failed attempts", "over time", series, times, text, span=of_jobs), number)


def _in_queues(group: ErrorGroup) -> list[tuple[ErrorsOfQueue, Markup]]:
    """Return the queues in which a group failed, each with a small chart, all of one scale."""
    attempts = {
        each.queue: charts.summed([step.failed + step.retried for step in each.series]) for each in group.queues or ()
    }
    most = max((sum_ for sums in attempts.values() for sum_ in sums), default=1)

    def spark(queue: str, values: Sequence[float]) -> Markup:
        return charts.spark(values, "failed", f"{count(sum(values), 'failed attempt')} in {queue}", least=most)

    return [(each, spark(each.queue, attempts[each.queue])) for each in group.queues or ()]


@section.act("/failures/<error_id>/mute", Scope.OPERATE, every_queue=WHOLE)
def silence(error_id: str) -> Response:
    """Mute the group for a while."""
    text = request.form.get("for", "")
    duration = read_duration(text) if text in MUTES else None
    if duration is None:
        return _back("Not muted. Choose for how long.", error_id)
    _mute(error_id, viewer().now + duration)
    undo = Undo("Unmute", "failures.unmute", {"error_id": error_id})
    return _back(f"Muted for {MUTES[text]}. The overview does not show it until then.", error_id, undo)


@section.act("/failures/<error_id>/unmute", Scope.OPERATE, every_queue=WHOLE)
def unmute(error_id: str) -> Response:
    """Unmute the group."""
    _mute(error_id, None)
    return _back("Unmuted.", error_id)


def _mute(error_id: str, until: Any) -> None:
    read(lambda conn: mute(conn, id_in(error_id), until, actor=caller().id))


def _back(sentence: str, error_id: str, undo: Undo | None = None) -> Response:
    place = asked_place() if "next" in request.form else url("failures.one", error_id=error_id)
    return done(sentence, place, undo)
