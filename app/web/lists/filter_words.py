"""Filters as people read them: the text of an error and the name of a worker instead of an id, the word of a status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from functools import partial

from haulier.domain.fingerprint import read_id
from haulier.domain.text import cut
from haulier.postgres.statements import Connection
from haulier.queue.failures.error_groups import errors_by_id

from ...http.auth import caller
from ...http.masking import errors_as_shown
from ..kit.job_list_url import TIMES, Pair
from ..kit.reading import kept, part
from ..kit.viewer import viewer
from ..words.filters import STATES, exact, read_time, word
from .rows import worker_names

# The text of a group never changes, but who may see it does.
MOST_TEXT, SECONDS = 80, 30.0


def filter_words(pairs: Iterable[Pair]) -> Mapping[Pair, str]:
    """Return what to show for the value of each filter: the value itself if there are no better words for it."""
    asked = list(pairs)
    ids = [error_id for name, text in asked if name == "error" and (error_id := _id(text)) is not None]
    errors = _errors(sorted(set(ids))) if ids else {}
    workers = worker_names() if any(name == "worker" for name, _ in asked) else {}
    by_name: Mapping[str, Mapping[str, str]] = {
        "status": {status: word(status).lower() for status in STATES},
        "error": errors,
        "worker": workers,
    }
    return {(name, text): by_name.get(name, {}).get(text) or _at_clock(name, text) for name, text in asked}


def _at_clock(name: str, text: str) -> str:
    """Return a time with a zone, as charts link to it, in the viewer's zone; any other text as it is."""
    by = viewer()
    at = read_time(text, UTC) if name in TIMES and text.endswith("Z") else None
    return text if at is None else exact(at, by.prefers.time_zone, by.now)


def _id(text: str) -> int | None:
    try:
        return read_id(text)
    except ValueError:
        return None


def _errors(ids: list[int]) -> Mapping[str, str]:
    """Return the texts of those groups that the viewer may see, by their ids as clients write them."""

    def read_texts(conn: Connection) -> dict[str, str]:
        groups = errors_as_shown(conn, errors_by_id(conn, ids, queues=caller().queues))
        return {group.name: cut(group.text, MOST_TEXT) for group in groups}

    return kept("error texts", tuple(ids), partial(part, read_texts), seconds=SECONDS).value or {}
