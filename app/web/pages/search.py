"""Search: an id leads to its job, filters lead to the matching jobs, and a word to what has that name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import QueueNotFound, ScheduleNotFound
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection
from haulier.queue.failures.error_groups import ErrorFilter, ErrorGroup, list_errors
from haulier.queue.health.ended_workers import EndedWorker, list_ended
from haulier.queue.health.worker_list import Worker, list_workers
from haulier.queue.numbers.recent import recent_kind
from haulier.queue.numbers.stats import get_queue
from haulier.queue.schedules.schedules import get_schedule
from haulier.queue.search.id_prefix import id_range, jobs_by_prefix
from haulier.queue.search.job_list import list_jobs
from haulier.queue.search.known_names import KnownName, jobs_of_key, names_containing
from haulier.requests.job_conditions import PREFIX

from ...http.auth import caller
from ...http.filtering import filter_within
from ...http.masking import errors_as_shown, masked_kinds
from ...http.service import service
from ..kit.job_list_url import MOST_TYPED, NAMES, UNREAD, Found, Pair, fits, read_look, read_search
from ..kit.page import Page
from ..kit.reading import part, searched
from ..kit.search_box import Box, fault_of
from ..kit.section import Section
from ..kit.templates import url
from ..kit.viewer import viewer
from ..words.filters import word

MOST_ERRORS, MOST_JOBS, MOST_WORKERS, MOST_NAMES = 50, 50, 200, 20
# A shorter text is a part of too many names.
LEAST_LETTERS = 3
JOB = "The job"
SPAN, SECONDS = "30d", 1.0

section = Section("search", __name__, within="jobs")


@dataclass(frozen=True, slots=True)
class Hit:
    """One possible meaning of the typed text, and its URL."""

    what: str
    name: str
    place: str
    more: str = ""


@section.page("/search", Scope.READ)
def show() -> Page | Response:
    """Redirect to what was typed; list the matches if there are several, or none."""
    typed = request.args.get("q", "").strip()[:MOST_TYPED]
    # After a typing error the box sends the filters that were understood, and the correction is added to them.
    held = read_look((name, texts) for name, texts in request.args.lists() if name not in ("q", UNREAD)).pairs
    found = read_search(typed, held)
    if found.is_secret:
        # Redirect at once, so that no page, form or browser history holds the key.
        return redirect(_jobs([(UNREAD, "key")]), 303)
    if found.job:
        return redirect(url_for("ui.job.show", job_id=found.job), 303)
    if not typed:
        return redirect(_jobs(held), 303)
    return _of_filters(typed, found) if _has_filters(typed) else _of_words(typed, found)


def _has_filters(typed: str) -> bool:
    named = re.findall(r"(?:^|\s)([a-z][\w.]*)[:=]\S", typed)
    return any(name in NAMES or name.startswith(PREFIX) for name in named)


def _of_filters(typed: str, found: Found) -> Page | Response:
    """Redirect to the jobs that match these filters.

    An error text stands for the groups that contain it, a worker's name for all workers of that name.
    """
    late: list[str] = []
    for name, hits in (("error", _errors), ("worker", _jobs_of_workers)):
        texts = [text for each, text in found.pairs if each == name and not fits(name, text)]
        if texts:
            rest = [pair for pair in found.query if pair[0] != name or pair[1] not in texts]
            return _answer(typed, list(hits(texts[0], rest, late)), late, found)
    return redirect(_jobs(found.query), 303)


def _of_words(typed: str, found: Found) -> Page | Response:
    late: list[str] = []
    looks: Sequence[Callable[[str, list[str]], Iterator[Hit]]] = (
        _ids,
        _kinds,
        _queues,
        _schedules,
        _workers,
        _keys,
        _tags,
    )
    hits = [hit for look in looks for hit in look(typed, late)]
    # A name that contains the word is only meant if nothing has just that name.
    hits = hits or list(_alike(typed, late))
    return _answer(typed, [*hits, *_errors(typed, None, late)], late, found)


def _answer(typed: str, hits: Sequence[Hit], late: Sequence[str], found: Found) -> Page | Response:
    if len(hits) == 1 and not late:
        return redirect(hits[0].place, 303)
    has_more = sum(hit.what == JOB for hit in hits) == MOST_JOBS
    # A word may be a name or a part of an error, whatever it looks like. Report a fault only if nothing matches.
    unread = [each for each in found.unread if not hits and ":" in each.text]
    box = Box(typed, fault_of(unread))
    return Page("search.html", "Search", box=box, typed=typed, hits=hits, late=late, has_more=has_more)


def _jobs(pairs: Sequence[Pair]) -> str:
    return f"{url_for('ui.jobs.show')}?{urlencode(pairs)}" if pairs else url_for("ui.jobs.show")


def _ids(typed: str, late: list[str]) -> Iterator[Hit]:
    prefix = id_range(typed)
    if prefix is None:
        return
    found = part(lambda conn: jobs_by_prefix(conn, prefix, queues=caller().queues, limit=MOST_JOBS), seconds=SECONDS)
    if found.value is None:
        late.append(f"Job ids: {found.late}")
        return
    for job in found.value:
        place = url_for("ui.job.show", job_id=job.id)
        yield Hit(JOB, str(job.id), place, f"{job.kind}, {word(job.status).lower()}, in {job.queue}")


def _kinds(typed: str, late: list[str]) -> Iterator[Hit]:
    if not fits("kind", typed):
        return
    place = _jobs([("kind", typed)])
    if typed in service().kinds:
        yield Hit("Jobs of the kind", typed, place)
        return
    found = part(lambda conn: recent_kind(conn, typed, queues=caller().queues))
    if found.late:
        late.append(f"Kinds: {found.late}")
    elif found.value:
        yield Hit("Jobs of the kind", typed, place)


def _queues(typed: str, late: list[str]) -> Iterator[Hit]:
    if not fits("queue", typed) or not caller().may_use(typed):
        return
    if _is_there("Queues", lambda conn: get_queue(conn, typed), late):
        yield Hit("The queue", typed, url_for("ui.queues.one", name=typed))


def _alike(typed: str, late: list[str]) -> Iterator[Hit]:
    """Yield the queues, kinds and schedules whose names contain the text."""
    text = typed.lower()
    if len(text) < LEAST_LETTERS or not re.fullmatch(r"[a-z0-9_.-]+", text):
        return
    found = part(lambda conn: names_containing(conn, text, queues=caller().queues, limit=MOST_NAMES))
    if found.late:
        late.append(f"Parts of names: {found.late}")
    names = {*(found.value or ()), *(KnownName("kind", kind) for kind in service().kinds if text in kind)}
    for what, name in sorted(names)[:MOST_NAMES]:
        place = _jobs([("kind", name)]) if what == "kind" else url_for(f"ui.{what}s.one", name=name)
        yield Hit("Jobs of the kind" if what == "kind" else f"The {what}", name, place)


def _schedules(typed: str, late: list[str]) -> Iterator[Hit]:
    if not re.fullmatch(NAME_PATTERN, typed):
        return
    if _is_there("Schedules", lambda conn: get_schedule(conn, typed, queues=caller().queues), late):
        yield Hit("The schedule", typed, url_for("ui.schedules.one", name=typed))


def _workers(typed: str, late: list[str]) -> Iterator[Hit]:
    for worker_id, name in _called(typed, late):
        yield Hit("The worker", name, url_for("ui.workers.one", worker_id=worker_id))


def _jobs_of_workers(text: str, rest: Sequence[Pair], late: list[str]) -> Iterator[Hit]:
    for worker_id, name in _called(text, late):
        yield Hit("Jobs of the worker", name, _jobs([*rest, ("worker", str(worker_id))]))


def _called(typed: str, late: list[str]) -> Iterator[tuple[UUID, str]]:
    """Yield the workers on this host or with this name: the live ones, and those that ended last."""

    def look(conn: Connection) -> list[tuple[UUID, str, str]]:
        live, _ = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues, counts_jobs=False)
        ended = list_ended(conn, limit=MOST_WORKERS, queues=caller().queues)
        found: Sequence[Worker | EndedWorker] = [*live, *ended]
        return [(each.id, each.host, each.name) for each in found]

    found = part(look, seconds=SECONDS)
    if found.late:
        late.append(f"Workers: {found.late}")
    for worker_id, host, name in found.value or ():
        if typed in (host, name):
            yield worker_id, name


def _is_there(name: str, get: Callable[[Connection], object], late: list[str]) -> bool:
    """Return whether `get` finds something; if it takes too long, add `name` to `late`."""

    def look(conn: Connection) -> bool:
        try:
            return bool(get(conn))
        except (QueueNotFound, ScheduleNotFound):
            return False

    found = part(look)
    if found.late:
        late.append(f"{name}: {found.late}")
    return bool(found.value)


def _keys(typed: str, late: list[str]) -> Iterator[Hit]:
    if not fits("key", typed):
        return
    some = list(_if_any("Jobs with the idempotency key", "key", typed, late))
    yield from some
    if some:
        return
    # The list has looked at the newest jobs; the keys have an index.
    found = part(lambda conn: jobs_of_key(conn, typed, queues=caller().queues))
    if found.late:
        late.append(f"Old jobs with the idempotency key: {found.late}")
    for job_id in found.value or ():
        yield Hit("The job with the idempotency key", typed, url_for("ui.job.show", job_id=job_id))


def _tags(typed: str, late: list[str]) -> Iterator[Hit]:
    if fits("tag", typed):
        yield from _if_any("Jobs with the tag", "tag", typed, late)


def _if_any(what: str, name: str, typed: str, late: list[str]) -> Iterator[Hit]:
    wanted = filter_within({name: [typed] if name == "tag" else typed}, (), after=None, limit=1)
    # It limits its own time.
    found = searched(lambda conn: bool(list_jobs(conn, wanted).jobs))
    if found.late:
        late.append(f"{what}: {found.late}")
    elif found.value:
        yield Hit(what, typed, _jobs([(name, typed)]))


def _errors(text: str, rest: Sequence[Pair] | None, late: list[str]) -> Iterator[Hit]:
    """Yield the errors that contain the text: their jobs that match the other filters, or (None) their own pages."""

    def read_groups(conn: Connection) -> list[ErrorGroup]:
        wanted = ErrorFilter(SPAN, text=text, queues=caller().queues, limit=MOST_ERRORS, masked_kinds=masked_kinds())
        return errors_as_shown(conn, list_errors(conn, wanted)[0])

    found = part(read_groups, seconds=SECONDS)
    if found.value is None:
        late.append(f"Errors: {found.late}")
        return
    for group in found.value:
        if rest is None:
            span = "24h" if viewer().now - group.last_seen < timedelta(days=1) else SPAN
            yield Hit("The error", group.text, url("failures.one", error_id=group.name, span=span), group.kind)
        else:
            yield Hit("Jobs that failed with", group.text, _jobs([*rest, ("error", group.name)]), group.kind)
