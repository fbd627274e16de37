"""Find a mistyped queue or kind in a filter. Only needed when the list is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from haulier.domain.errors import QueueNotFound
from haulier.postgres.statements import Connection
from haulier.queue.numbers.stats import get_queue
from haulier.queue.search.job_list import list_jobs

from ...http.auth import caller
from ...http.filtering import filter_within
from ...http.service import service
from ..kit.job_list_url import Look, Pair
from ..kit.reading import kept, part, searched

SECONDS = 5.0


def unused(look: Look) -> Mapping[Pair, str]:
    """Return the faults of a filter's queue and kind if no job has that name.

    Only the first of several queues or kinds is checked, because each takes a statement or two.
    """
    return dict(_of(look))


def _of(look: Look) -> Iterator[tuple[Pair, str]]:
    for name, is_known in (("queue", _is_queue), ("kind", _is_kind)):
        text = look.value(name)
        if not text or is_known(text):
            continue
        # The list has already answered a filter by only that name.
        if look.pairs == ((name, text),) or _has_none(name, text):
            yield (name, text), f"no such {name}"


def _is_kind(text: str) -> bool:
    return text in service().kinds


def _is_queue(text: str) -> bool:
    def look(conn: Connection) -> bool:
        try:
            return bool(get_queue(conn, text))
        except QueueNotFound:
            return False

    # A queue that the key may not see counts as missing.
    return (
        caller().may_use(text) and kept("is a queue", (text,), partial(part, look), seconds=SECONDS).value is not False
    )


def _has_none(name: str, text: str) -> bool:
    """Return whether no job has it: neither a live one nor, however far back, an ended one."""
    wanted = filter_within({name: [text]}, (), after=None, limit=1)

    def look(conn: Connection) -> bool:
        found = list_jobs(conn, wanted)
        return not found.jobs and found.looked_back_to is None

    return kept("has none", (name, text), partial(searched, look), seconds=SECONDS).value is True
