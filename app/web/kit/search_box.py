"""The search box of each page: what stands in it, and what it suggests."""

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

# As many as a person reads through, some kilobytes of a page; half of what follows the filters are kinds at most.
MOST = 50
# So long after a page has read the name of a queue it is suggested.
KNOWN_SECONDS, MOST_KNOWN = 600.0, 200
# Of so many words it is said what is wrong with them, and of each so much is repeated: all of them stay in the box.
MOST_SHOWN, MOST_WORD = 3, 40


@dataclass(frozen=True, slots=True)
class Box:
    """What stands in the box.

    `fault` says what of it is not understood, and marks it; without leads to the page without that. held are filters
    that hold beside what is typed there.
    """

    text: str = ""
    fault: str = ""
    held: Sequence[Pair] = ()
    without: str = ""


EMPTY = Box()


def fault_of(unread: Sequence[Odd]) -> str:
    """Return one line that says why these words are not understood; "" if there is none."""
    shown = [f"“{_cut(each.text)}”: {each.why}" for each in unread[:MOST_SHOWN]]
    more = len(unread) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more > 0 else [])])


def _cut(text: str) -> str:
    return text if len(text) <= MOST_WORD else f"{text[: MOST_WORD - 1]}…"


class QueuesRead:
    """The names of the queues that pages of this process have read lately. Safe for all threads."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, names: Iterable[str]) -> None:
        """Keep these names, in the place of those that were read the longest ago."""
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
    """Return what may be typed into the box, without a statement: filters, and kinds and queues that are known here.

    At most MOST. Another viewer may have had a queue read: only those that this one may use are named.
    """
    names = {status: alias for alias, status in ALIASES.items()}
    filters = [*(f"{name}:" for name in NAMES), PREFIX, *(f"status:{names.get(each, each)}" for each in JobStatus)]
    kinds = [f"kind:{name}" for name in sorted(service().kinds)][: (MOST - len(filters)) // 2]
    by = viewer().caller
    queues = [f"queue:{name}" for name in queues_read().names() if by.may_use(name)]
    return [*filters, *kinds, *queues][:MOST]
