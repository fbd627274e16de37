"""The list of jobs, newest first. The search box leads to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import read_id
from haulier.domain.job import JobOrder, JobStatus
from haulier.queue.rows import StoredJob
from haulier.queue.search.id_prefix import id_range
from haulier.queue.search.job_filter import JobFilter, Position
from haulier.queue.search.job_list import Page as Jobs
from haulier.queue.search.job_list import list_jobs
from haulier.requests.cursor import read_cursor, write_cursor
from haulier.requests.invalid import Invalid
from haulier.requests.job_conditions import PREFIX

from ....http.filtering import filter_within
from ....http.masking import as_shown
from ...forms.bulk import fitting
from ...kit.job_list_url import LOOKED_UP, TIMES, UNREAD, Look, Odd, Pair, read_look, read_search
from ...kit.menu import MenuEntry
from ...kit.page import Page
from ...kit.reading import Part, kept, part, searched
from ...kit.search_box import Box, fault_of, queues_read
from ...kit.section import Section
from ...kit.templates import url
from ...kit.viewer import viewer
from ...lists.filter_words import filter_words
from ...lists.job_totals import Counted, by_status, of_error, total
from ...lists.mistyped_names import unused
from ...lists.rows import ListedJob, columns_of, deadline_of, in_order, is_running, listed, took_seconds, worker_names

# MOST_BACK pages can be gone back, one by one.
MOST_BACK, MOST_TYPED = 30, 300
ORDERS: Mapping[str, str] = {"": "Newest first", JobOrder.DUE: "Next to run first", JobOrder.STARTED: "Longest first"}

section = Section("jobs", __name__, MenuEntry("Work", 20, "Jobs", "jobs", "j"))


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list. `after` is the cursor of the next page."""

    jobs: Sequence[ListedJob]
    after: str | None
    looked_back_to: datetime | None


@section.page("/jobs", Scope.READ, every=5)
def show() -> Page | Response:
    """Return a page of the jobs of the filters in the URL; redirect a search to one."""
    if "q" in request.args:
        return _search(request.args["q"])
    look = _asked()
    after = None if look.sort else _position(request.args.get("older", ""))
    found = _found(look, after)
    newer, older = _around(look, found.value.after if found.value else None)
    hidden = _hidden(look, found.value) if after is None else None
    if hidden:
        [look, found], behind, older = hidden, older, None
    odd_names = unused(look) if after is None and _is_empty(found.value) else {}
    counts, total_jobs = _counts(look, None if odd_names else found.value, is_first=after is None)
    return Page(
        "jobs.html",
        "Jobs",
        is_live=after is None and not look.payload,
        box=_box(look),
        found=found,
        look=look,
        statuses=_statuses(look),
        chips=_chips(look, odd_names),
        newer=newer,
        older=older,
        is_secret=request.args.get(UNREAD) == "key",
        verbs=fitting(look),
        counts=counts,
        total=total_jobs,
        orders=_orders(look),
        behind=behind if hidden else None,
        columns=columns_of(look),
        deadline_of=deadline_of,
        took_seconds=took_seconds,
        workers=_workers(found.value),
    )


def _found(look: Look, after: Position | None) -> Part[Listed]:
    return kept("jobs", (look, after, viewer().prefers.zone), partial(_list, look, after))


def _hidden(look: Look, newest: Listed | None) -> tuple[Look, Part[Listed]] | None:
    """Return the next jobs of a queue to run if a look at the newest of all queues did not come to them."""
    query = look.in_order(JobOrder.DUE)
    if query is None or newest is None or not newest.looked_back_to or (newest.jobs and not look.statuses):
        return None
    due = read_look((name, [text]) for name, text in query)
    found = _found(due, None)
    return (due, found) if found.value and found.value.jobs else None


def _asked() -> Look:
    """Return the filters in the URL. The form sends a place in the payload and its value separately."""
    path, value = (request.args.get(name, "").strip()[:MOST_TYPED] for name in ("path", "value"))
    look = read_look([*request.args.lists(), *([(f"{PREFIX}{path}", [value])] if path and value else [])])
    if bool(path) == bool(value):
        return look
    return replace(look, odd=(*look.odd, Odd("payload", path or value, "needs a field and a value")))


def _search(text: str) -> Response:
    found = read_search(text)
    if found.is_secret:
        # Redirect at once, so that no page, form or browser history holds the key.
        return redirect(_at((), unread="key"), 303)
    if found.job:
        return redirect(url_for("ui.job.show", job_id=found.job), 303)
    if id_range(text.strip()) or any(name in LOOKED_UP for name, _ in found.pairs):
        return redirect(url_for("ui.search.show", q=text.strip()), 303)
    return redirect(_at(found.query), 303)


def _box(look: Look) -> Box:
    """Return the search box with the words that were typed there and not understood."""
    unread = [each for each in look.odd if each.name == UNREAD]
    without = _at([pair for pair in look.query() if pair[0] != UNREAD]) if unread else ""
    held = look.pairs if unread else ()
    return Box(" ".join(each.text for each in unread), fault_of(unread), held, without)


def _wanted(look: Look, after: Position | None = None) -> JobFilter:
    """Return the filter of the list. Raises: Invalid."""
    by = viewer()
    return filter_within(look.asked(by.prefers.time_zone, by.now), look.payload, after=after, limit=look.limit)


def _list(look: Look, after: Position | None) -> Part[Listed]:
    if look.sort:
        return part(lambda conn: Listed(in_order(conn, look), None, None))
    try:
        wanted = _wanted(look, after)
    except Invalid as error:
        return Part(None, str(error))
    # Keep only what the list shows: a page of whole jobs may have 8 MB.
    return searched(lambda conn: _shown(list_jobs(conn, wanted)))


def _counts(look: Look, found: Listed | None, *, is_first: bool) -> tuple[Mapping[JobStatus, Counted], Counted | None]:
    """Return how many jobs of each status match the other filters, and how many the list has, as far as is known."""
    if found is None:
        return {}, None
    wanted = _wanted(look)
    names = {name for name, _ in look.pairs} - {"status"}
    if names == {"error"}:
        counts = of_error(read_id(look.value("error")))
    else:
        counts = by_status(wanted) if names <= {"kind", "queue"} else {}
    # What ended in the last seconds is not counted yet.
    succeeded = sum(isinstance(job, StoredJob) and job.status is JobStatus.SUCCEEDED for job in found.jobs)
    counts = {status: each for status, each in counts.items() if not each.is_about or each.jobs >= succeeded}
    jobs = _total(look, wanted, found, is_first=is_first)
    if jobs is None or len(look.statuses) != 1:
        return counts, jobs
    # As below the list.
    return {**counts, **dict.fromkeys(look.statuses, jobs)}, jobs


def _total(look: Look, wanted: JobFilter, found: Listed, *, is_first: bool) -> Counted | None:
    # A list in another order has only its first page.
    if is_first and found.after is None and not look.sort:
        return Counted(len(found.jobs), True)
    # The page before this one was full, unless its jobs are very large.
    before = 0 if is_first else look.limit
    return _fitting(total(wanted, (look.pairs, viewer().prefers.zone)), found, before)


def _fitting(counted: Counted | None, found: Listed, before: int) -> Counted | None:
    """Return the count, at least as many as this page and the one before show: it may be a minute old."""
    if counted is None or counted.jobs >= before + len(found.jobs) + (found.after is not None):
        return counted
    return Counted(before + len(found.jobs), False) if found.after else None


def _shown(page: Jobs) -> Listed:
    after = None if page.after is None else write_cursor(*page.after)
    queues_read().note(dict.fromkeys(job.queue for job in page.jobs))
    return Listed([listed(as_shown(job)) for job in page.jobs], after, page.looked_back_to)


def _position(cursor: str) -> Position | None:
    try:
        return read_cursor(cursor) if cursor else None
    except ValueError:
        return None


def _at(pairs: Sequence[Pair], **place: str) -> str:
    query = urlencode([*pairs, *((name, text) for name, text in place.items() if text)])
    return f"{url('jobs.show')}?{query}" if query else url("jobs.show")


def _around(look: Look, after: str | None) -> tuple[str | None, str | None]:
    """Return the URLs of the pages around this one. `back` holds the cursors of the pages before."""
    here, back = request.args.get("older", ""), [each for each in request.args.get("back", "").split(".") if each]
    newer = _at(look.query(), older=back[-1] if back else "", back=".".join(back[:-1])) if here else None
    trail = ".".join([*back, here][-MOST_BACK:]) if here else ""
    older = _at(look.query(), older=after, back=trail) if after else None
    return newer, older


def _orders(look: Look) -> list[tuple[str, str, bool]]:
    """Return the orders that the filters can have, as tabs; none if newest first is the only one."""
    others = [(sort, query) for sort in JobOrder if (query := look.in_order(sort)) is not None]
    queries = [("", look.query(sort="")), *others] if others else []
    return [(_at(query), ORDERS[sort], sort == look.sort) for sort, query in queries]


def _workers(found: Listed | None) -> Mapping[str, str]:
    runs = found is not None and any(is_running(job) for job in found.jobs)
    return worker_names() if runs else {}


def _statuses(look: Look) -> list[tuple[str | None, str, bool]]:
    now = look.values("status")
    chosen: list[str | None] = [None, *JobStatus]
    return [(each, _at(look.with_status(each)), now == ([] if each is None else [each])) for each in chosen]


def _is_empty(found: Listed | None) -> bool:
    """Return whether no job matches, however far back."""
    return found is not None and not found.jobs and found.looked_back_to is None


def _chips(look: Look, unused_: Mapping[Pair, str]) -> list[tuple[str, str, str, str]]:
    """Return the filters: the name, the text, the URL without it, and why it is ignored or matches nothing."""
    words = filter_words(look.pairs)
    pairs = [(*pair, words[pair], unused_.get(pair, "")) for pair in look.pairs if pair[0] != "status"]
    odd = [(each.name, each.text, each.text, each.why) for each in look.odd if each.name != UNREAD]
    # Names of payload fields stay as they are.
    called = {name: name.replace("_", " ") for name in TIMES}
    return [
        (called.get(name, name), shown, _at(look.without(name, text)), why) for name, text, shown, why in (*pairs, *odd)
    ]
