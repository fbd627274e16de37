"""The overview: notices, figures and charts of a span, the queues, and the errors of the last hour."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any

from flask import request
from markupsafe import Markup
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from haulier.domain.job import NAME_PATTERN
from haulier.domain.text import duration, number, share
from haulier.postgres.statements import Connection
from haulier.queue.failures.error_groups import ErrorFilter, ErrorGroup, ErrorStep, errors_at_once, failed_attempts
from haulier.queue.numbers.stats import Shown as Of
from haulier.queue.numbers.stats import Stats, Step
from haulier.queue.search.running import RunningJob

from ...http.acting import check_queue_name
from ...http.auth import caller
from ...http.masking import errors_as_shown
from ..attention import facts
from ..attention.acknowledged import split
from ..attention.known_facts import Facts
from ..attention.notice import Notice
from ..attention.notices import notices
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part
from ..kit.section import Section
from ..kit.templates import url
from ..kit.viewer import viewer
from ..lists import counting
from ..lists.counting import Queues
from ..lists.deployments import marks
from ..lists.fleet import MOST_WORKERS, Fleet, fleet
from ..lists.queue_states import Known, QueueRow, needs_look, row_of, worst_first
from ..words import charts
from ..words.charts import Chart, Series, Span
from ..words.filters import clock, exact

SPANS = {"1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
# The most queues that are read. Queues and errors are shown worst first.
MOST_QUEUES = 200
ERRORS_SPAN, USUAL_SPAN, DAY = "1h", "7d", timedelta(days=1)
QUEUES_SHOWN, ERRORS_SHOWN = 20, 5
# Errors of which no job is left come last, so others than the most frequent are shown.
ERRORS_DRAWN = 15
# Each rule gives one notice, or two: all can be seen at once. Only the database and schedules may give more.
MOST_NOTICES, MOST_LISTED = 12, 50
# The most errors that notices consider: one statement reads an example of each.
ERRORS_MINDED = 25

section = Section("overview", __name__, MenuEntry("Work", 10, "Overview", "overview", "o"))

# A chart and its figure. The most frequent errors of the last hour, and the attempts that failed in each of its steps.
Drawn = tuple[Chart, Markup]
Errors = tuple[Sequence[ErrorGroup], Sequence[ErrorStep]]
# What notices and the page are made of.
Loaded = tuple[Part[Stats], Part[Queues], Part[Errors], Part[Fleet], Sequence[RunningJob]]


@section.page("", Scope.READ, every=5)
def show() -> Page:
    """Return the overview of the span in the URL."""
    span, of = asked_span(), _asked_jobs()
    # Tabs share the page, because to make it takes longer than a poll may.
    asked = (span, of.queue, of.kind, viewer().prefers.zone, facts.may_see_checks())
    return kept("overview", asked, partial(_page, span, of))


def _asked_jobs() -> Of:
    """Return which jobs the figures and charts in the URL are of. Raises: QueueNotFound; NotFound."""
    queue, kind = (request.args.get(name, "").strip() for name in ("queue", "kind"))
    if queue:
        check_queue_name(queue)
    if kind and not re.fullmatch(NAME_PATTERN, kind):
        raise NotFound("This is not a valid kind name.")
    return Of(queue or None, kind or None, caller().queues)


def _filters(span: str, of: Of) -> list[tuple[str, str, str]]:
    """Return the filters of the figures: the name, the value, and the URL without it."""
    given: dict[str, Any] = {name: text for name, text in (("queue", of.queue), ("kind", of.kind)) if text}
    return [(name, text, url("overview.show", span=span, **{**given, name: None})) for name, text in given.items()]


def _page(span: str, of: Of) -> Page:
    found, queues, errors, workers, running = _loaded(span, of)
    filters = _filters(span, of)
    groups, attempts = errors.value or ([], None)
    acknowledged = facts.acknowledged()
    known = _known(found, queues, errors, workers, running)
    every = notices(known)
    needs, seen = split(every, acknowledged)
    if not known.unread and not known.vacuum_is_due:
        facts.forget_over(every, acknowledged)
    rows = _rows(queues.value, known.known)
    has_workers = workers.value is not None and not filters
    return Page(
        "overview.html",
        "Overview",
        tabs=tabs("overview.show", queue=of.queue, kind=of.kind),
        filters=filters,
        stats=_as_known(found, workers),
        rate=_rate(found.value),
        sparks=_sparks(found.value),
        span=SPANS[span].removeprefix("1 "),
        queues=Part(None, queues.late) if rows is None else Part(rows[:QUEUES_SHOWN]),
        more_queues=len(rows or ()) > QUEUES_SHOWN or bool(queues.value and queues.value.more),
        all_queues=len(rows or ()),
        per_minute=sum(row.queue.last_minute.succeeded + row.queue.last_minute.failed for row in rows or ()),
        oldest_in="" if filters else _oldest_in(rows or ()),
        usual=_usual(span, of),
        longest_since=running[0].started_at if running and not filters else None,
        errors=errors,
        groups=[
            (group, charts.spark_of(group, "this hour"), group.id in known.mended)
            for group in sorted(groups, key=lambda group: group.id in known.mended)[:ERRORS_SHOWN]
        ],
        workers=len(workers.value.living) if workers.value and has_workers else None,
        threads=workers.value.threads if workers.value and has_workers else 0,
        more_workers=bool(workers.value and workers.value.more),
        notices=needs[:MOST_NOTICES],
        more_notices=needs[MOST_NOTICES:MOST_LISTED],
        left_notices=len(needs[MOST_LISTED:]),
        acknowledged=seen,
        may_see_actors=caller().may_see_actors,
        charts=_charts_of(span, of, found.value, attempts),
    )


def current_notices() -> list[Notice]:
    """Return what needs the viewer's attention, acknowledged or not, as the overview shows it."""
    span, of = "1h", Of(None, None, caller().queues)
    return notices(_known(*_loaded(span, of)))


def _loaded(span: str, of: Of) -> Loaded:
    found, running = kept("figures", (span, of.queue, of.kind), partial(_stats, span, of)), facts.running()
    return found, kept("queues", (), _queues), kept("errors", (), _errors), kept("workers", (), _workers), running


def _known(
    found: Part[Stats],
    queues: Part[Queues],
    errors: Part[Errors],
    workers: Part[Fleet],
    running: Sequence[RunningJob],
) -> Facts:
    """Return the facts that notices go by."""
    groups = errors.value[0] if errors.value else []
    checks = facts.checks()
    return Facts(
        now=viewer().now,
        queues=queues.value.queues if queues.value else None,
        minutes=queues.value.minutes if queues.value else {},
        fleet=workers.value,
        usual=facts.usual(queues.value.minutes if queues.value else {}),
        unserved=_unserved(queues.value, workers.value),
        errors=groups,
        mended=facts.mended(groups),
        stats=found.value,
        is_counting=counting.is_on(),
        days_ahead=facts.days_ahead(),
        stuck=[job for job in running if facts.is_stuck(job)],
        ended=facts.ended(),
        overdue=facts.overdue(),
        failing_schedules=facts.failing_schedules(),
        skipping=facts.skipping(),
        checks=checks,
        vacuum_is_due=facts.vacuum_is_due(checks),
        unread=[
            *facts.unread(),
            *(each.late for each in (found, queues, errors, workers) if each.late),
            *_left_out(queues.value, workers.value),
        ],
    )


def asked_span() -> str:
    """Return the span of figures in the URL."""
    span = request.args.get("span", "1h")
    return span if span in SPANS else "1h"


def tabs(endpoint: str, **given: Any) -> list[tuple[str, str, bool]]:
    """Return the spans as tabs of a page: the URL, the name, and whether it is the current one."""
    return [(url(endpoint, span=span, **given), text, span == asked_span()) for span, text in SPANS.items()]


def _left_out(queues: Queues | None, workers: Fleet | None) -> Iterator[str]:
    if queues and queues.more:
        yield f"only the first {MOST_QUEUES} queues by name were checked"
    if workers and workers.more:
        yield f"only the newest {MOST_WORKERS} workers were checked"


def _unserved(queues: Queues | None, workers: Fleet | None) -> Collection[str]:
    is_known = queues and workers and not queues.more and not needs_look(queues.queues, workers, viewer().now)
    return () if is_known else facts.unserved(workers)


def _rows(found: Queues | None, known: Known) -> list[QueueRow] | None:
    """Return the queues, the worst first."""
    if found is None:
        return None
    return worst_first(row_of(each, known) for each in found.queues)


def _oldest_in(rows: Sequence[QueueRow]) -> str:
    due = [(row.queue.live.oldest_due_seconds or 0.0, row.queue.name) for row in rows if row.queue.live.due]
    return max(due)[1] if due else ""


def _usual(span: str, of: Of) -> str:
    # If no worker counts, old counts are not shown.
    found = facts.usual_ends(of) if span != USUAL_SPAN and counting.is_on() else None
    return share(found.failed, found.failed + found.succeeded) if found and (found.failed or found.succeeded) else ""


def _stats(span: str, of: Of) -> Part[Stats]:
    return part(lambda conn: counting.figures(conn, span, of))


def _as_known(found: Part[Stats], workers: Part[Fleet]) -> Part[Stats]:
    # Silent workers do not count: "0 due" is what was so before jobs had to wait.
    stats, fleet_ = found.value, workers.value
    if stats and not stats.live.due and fleet_ and fleet_.workers and fleet_.is_silent:
        return replace(found, value=replace(stats, live=replace(stats.live, due=None, oldest_due_seconds=None)))
    return found


def _rate(found: Stats | None) -> float | None:
    """Return how many jobs succeeded a minute in the last finished step."""
    if found is None or found.as_of is None or len(found.series) < 2:
        return None
    return 60 * found.series[-2].succeeded / found.step_seconds


def _sparks(found: Stats | None) -> Mapping[str, Markup]:
    """Return a small chart for each figure, without the unfinished step at its end."""
    steps = found.series if found else ()
    finished = steps[: -max(1, ceil(len(steps) / charts.MOST_COLUMNS))]
    drawn_: Mapping[str, tuple[str, list[float | None]]] = {
        "due": ("queued", [step.due for step in finished]),
        "oldest": ("retrying", [step.oldest_due_seconds for step in finished]),
        "running": ("running", [step.running for step in finished]),
        "succeeded": ("succeeded", [step.succeeded for step in finished]),
        "failed": ("failed", [step.failed for step in finished]),
    }
    # The charts below have the same numbers in words.
    return {name: charts.spark([each or 0 for each in values], state, "") for name, (state, values) in drawn_.items()}


def _queues() -> Part[Queues]:
    return part(lambda conn: counting.read_queues(conn, limit=MOST_QUEUES))


def _errors() -> Part[Errors]:
    def look(conn: Connection) -> Errors:
        wanted = ErrorFilter(ERRORS_SPAN, queues=caller().queues, limit=ERRORS_MINDED)
        groups, attempts = errors_at_once(conn, wanted, drawn=ERRORS_DRAWN)
        return errors_as_shown(conn, groups), attempts

    return part(look)


def _workers() -> Part[Fleet]:
    return part(fleet)


def _charts_of(span: str, of: Of, found: Stats | None, hourly: Sequence[ErrorStep] | None) -> list[Drawn]:
    charts_ = [] if found is None else drawn(found, of)
    if of.kind:
        # Failed attempts are counted per error and queue, not per kind.
        return charts_
    attempts = hourly
    if span != ERRORS_SPAN or of.queue:
        # Kept for longer: only finished steps are drawn, and seven days may have many counts to sum.
        attempts = kept("failed attempts", (span, of.queue), partial(_attempts, span, of), seconds=facts.SECONDS).value
    # Next to the throughput, which counts failed jobs but no failed attempts.
    return [*charts_[:2], *([_attempts_drawn(attempts, of)] if attempts and charts_ else ()), *charts_[2:]]


def _attempts(span: str, of: Of) -> Part[list[ErrorStep]]:
    return part(lambda conn: failed_attempts(conn, ErrorFilter(span, queue=of.queue, queues=of.queues)))


def _attempts_drawn(found: Sequence[ErrorStep], of: Of) -> Drawn:
    failed, retried = [step.failed for step in found], [step.retried for step in found]
    text = f"Attempts: {number(sum(failed))} failed, {number(sum(retried))} retried."
    series = [
        Series("Failed", "failed", failed, "columns"),
        Series("Retried", "retrying", retried, "columns"),
    ]
    jobs = jobs_ended(of, status="failed_permanent")
    span = Span.of([step.at for step in found], jobs, "Jobs that failed", marks())
    chart = Chart("Failed attempts", "failed or retried", series, _times(found), text, is_partial=True, span=span)
    return chart, charts.figure(chart, number)


def drawn(found: Stats, of: Of) -> list[Drawn]:
    """Return the charts of the figures of these jobs, drawn."""
    if not found.series:
        return []
    drawn_ = _charts(found, of, found.series, _times(found.series))
    return [(chart, charts.figure(chart, said)) for chart, said in drawn_]


def jobs_ended(of: Of, **filters: Any) -> str:
    """Return the list of the jobs that ended in a time, as Span.jobs."""
    return url("jobs.show", queue=of.queue, kind=of.kind, **filters, ended_after="FROM", ended_before="TO")


def _times(steps: Sequence[Step] | Sequence[ErrorStep]) -> list[str]:
    """Return when the steps began, with the day if they span more than one."""
    zone, now = viewer().prefers.time_zone, viewer().now
    times = [step.at for step in steps if step.at is not None]
    if times and times[-1] - times[0] > DAY:
        return [exact(at, zone, now)[:-3] for at in times]
    return [clock(at, zone)[:-3] for at in times]


def _charts(found: Stats, of: Of, steps: Sequence[Step], times: list[str]) -> list[tuple[Chart, charts.Say]]:
    per = f"jobs per {duration(found.step_seconds)}"
    totals, live = found.totals, found.live
    waits = [step.wait_seconds for step in steps]
    enqueued = url("jobs.show", queue=of.queue, kind=of.kind, after="FROM", before="TO")
    by_status = {each: jobs_ended(of, status=each) for each in ("succeeded", "failed_permanent", "cancelled")}
    throughput = [
        Series("Succeeded", "succeeded", [step.succeeded for step in steps], "columns", jobs=by_status["succeeded"]),
        Series("Failed", "failed", [step.failed for step in steps], "columns", jobs=by_status["failed_permanent"]),
        Series("Cancelled", "cancelled", [step.cancelled for step in steps], "columns", jobs=by_status["cancelled"]),
        Series("Enqueued", "text", [step.arrived for step in steps], "line", "dash", enqueued),
    ]
    started = [
        Series("p50", "running", [each.p50 for each in waits]),
        Series("p95", "running", [each.p95 for each in waits], "line", "dash"),
        Series("p99", "running", [each.p99 for each in waits], "line", "dots"),
    ]
    backlog = [Series("Due", "queued", [step.due for step in steps], "area")]
    ended = f"{number(totals.succeeded)} succeeded, {number(totals.failed)} failed, {number(totals.arrived)} enqueued"
    median = f"median {duration(totals.wait_seconds.p50)}, 99th percentile {duration(totals.wait_seconds.p99)}"
    texts = (
        f"Throughput: {ended}.",
        f"Wait until start: {median}.",
        f"Backlog: {number(live.due)} jobs are due now.",
    )
    begins, releases = [step.at for step in steps], marks()
    ends = Span.of(begins, jobs_ended(of), "All that ended", releases)
    comes = Span.of(begins, enqueued, "Jobs enqueued then", releases)
    waits_of = "after a job is due"
    return [
        (Chart("Throughput", per, throughput, times, texts[0], is_partial=True, span=ends), number),
        (Chart("Wait until start", waits_of, started, times, texts[1], is_partial=True, span=ends), duration),
        (Chart("Backlog", "due jobs", backlog, times, texts[2], is_partial=True, span=comes), number),
    ]
