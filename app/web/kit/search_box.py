"""The search box of each page: its text, its faults and its suggestions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from flask import current_app

from haulier.domain.job import JobStatus
from haulier.requests.job_conditions import PREFIX

from ...http.service import service
from .job_list_url import ALIASES, NAMES, Odd, Pair
from .viewer import viewer

# As many as a person reads; some kilobytes of a page. After the filters, at most half are kinds.
MOST = 50
# A queue is suggested for this long after a page has read its name.
KNOWN_SECONDS, MOST_KNOWN = 600.0, 200
# The message quotes at most this many invalid words, this many characters of each. All words stay in the box.
MOST_SHOWN, MOST_WORD = 3, 40


@dataclass(frozen=True, slots=True)
class Box:
    """The content of the box.

    `fault` says which words are invalid; `without` is the URL of the page without them. `held` are the current filters,
    to which the typed text is added.
    """

    text: str = ""
    fault: str = ""
    held: Sequence[Pair] = ()
    without: str = ""


EMPTY = Box()


def fault_of(unread: Sequence[Odd]) -> str:
    """Return one line that says why these words are invalid; "" if there are none."""
    shown = [f"“{_cut(each.text)}”: {each.why}" for each in unread[:MOST_SHOWN]]
    more = len(unread) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more > 0 else [])])


def _cut(text: str) -> str:
    return text if len(text) <= MOST_WORD else f"{text[: MOST_WORD - 1]}…"


class QueuesRead:
    """The names of the queues that pages of this process have read recently. Safe for all threads."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, names: Iterable[str]) -> None:
        """Keep these names; they replace the names that were read the longest ago."""
        until = time.monotonic() + KNOWN_SECONDS
        with self._lock:
            for name in names:
                self._until.pop(name, None)
                self._until[name] = until
            for name in list(self._until)[:-MOST_KNOWN]:
                del self._until[name]

    def names(self) -> list[str]:
        """Return the names, in order."""
        now = time.monotonic()
        with self._lock:
            return sorted(name for name, until in self._until.items() if until > now)


def queues_read() -> QueuesRead:
    """Return the queues that pages of the current application have read."""
    return cast(QueuesRead, current_app.extensions.setdefault("haulier_queues_read", QueuesRead()))


def suggestions() -> list[str]:
    """Return at most MOST suggestions, without a statement: filters, and the kinds and queues known to this process.

    Other viewers' pages may have read a queue, so only queues that this viewer may use are named.
    """
    names = {status: alias for alias, status in ALIASES.items()}
    filters = [*(f"{name}:" for name in NAMES), PREFIX, *(f"status:{names.get(each, each)}" for each in JobStatus)]
    kinds = [f"kind:{name}" for name in sorted(service().kinds)][: (MOST - len(filters)) // 2]
    by = viewer().caller
    queues = [f"queue:{name}" for name in queues_read().names() if by.may_use(name)]
    return [*filters, *kinds, *queues][:MOST]
