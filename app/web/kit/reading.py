"""Load the parts of a page, each with its own deadline, cached for 2 s per set of rights.

Polls of open pages load slow parts even less often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from flask import current_app, request

from haulier.domain.errors import Locked, RefusedForNow, StatementRefused, reason
from haulier.postgres.statements import Connection, bounded

from ...http.service import connection
from . import server_timing
from .viewer import viewer

# The header with which an open page asks whether it has changed.
LIVE = "Haulier-Live"

T = TypeVar("T")
Task = Callable[[Connection], T]

PART_SECONDS, LOCK_SECONDS = 0.3, 0.2
KEPT_SECONDS = 2.0
# Polls may spend this share of a thread on a part, until it is POLLED_SECONDS old: otherwise the slowest pages would
# load a busy database the most.
POLLED_SHARE, POLLED_SECONDS = 0.01, 5.0
# Some megabytes, because pages keep what they show, not whole jobs. One overview keeps up to 16 values.
MOST_KEPT = 500


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a page. If it could not be loaded, value is None and late says why."""

    value: T | None
    late: str = ""


def read(task: Task[T]) -> T:
    """Return what the task reads, with the deadlines of its own statements. Raises: DatabaseUnavailable; …"""
    with server_timing.of_database(), connection() as conn:
        return task(conn)


def part(task: Task[T], *, seconds: float = PART_SECONDS) -> Part[T]:
    """Return what the task reads, or why not, if a statement takes longer than `seconds`.

    Raises: DatabaseUnavailable if the database cannot be reached at all.
    """

    def look(conn: Connection) -> T:
        with bounded(seconds=seconds, lock_seconds=LOCK_SECONDS):
            return task(conn)

    return _or_late(look, f"the database took longer than {1000 * seconds:.0f} ms")


def searched(task: Task[T]) -> Part[T]:
    """Return what a task reads that limits its own time, or why not."""
    return _or_late(task, "the database took too long")


def _or_late(task: Task[T], why: str) -> Part[T]:
    try:
        return Part(read(task))
    except Locked:
        return Part(None, "another transaction holds a lock on the data")
    except RefusedForNow:
        return Part(None, why)
    except StatementRefused as error:
        return Part(None, f"the database refused the query: {reason(error)}")


@dataclass(eq=False, slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float = float("-inf")
    took: float = 0.0
    value: Any = None

    def fits(self, seconds: float, *, is_polled: bool) -> bool:
        """Return whether the value is younger than `seconds`."""
        # Try soon again what could not be read.
        if isinstance(self.value, Part) and self.value.late:
            seconds = min(seconds, KEPT_SECONDS)
        elif is_polled:
            seconds = max(seconds, min(POLLED_SECONDS, self.took / POLLED_SHARE))
        return time.monotonic() < self.made_at + seconds


class Shelf:
    """What was read recently, by key. One thread reads a value; others that need the same value wait for it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._lock = threading.Lock()

    def get(self, asked: tuple[object, ...], make: Callable[[], T], seconds: float, *, is_polled: bool = False) -> T:
        """Return the value of this key if it is younger than `seconds`; otherwise make it and keep it.

        Args:
            is_polled: Nobody waits for the value, so it may be older if it is slow to make.
        """
        with self._lock:
            if len(self._kept) >= MOST_KEPT and asked not in self._kept:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept.setdefault(asked, _Kept())
        with kept.lock:
            if not kept.fits(seconds, is_polled=is_polled):
                at = time.monotonic()
                kept.value = make()
                kept.made_at = time.monotonic()
                kept.took = kept.made_at - at
            return cast(T, kept.value)

    def clear(self) -> None:
        """Forget everything, because somebody has just changed something and wants to see it."""
        with self._lock:
            self._kept.clear()


def kept(name: str, asked: tuple[object, ...], make: Callable[[], T], *, seconds: float | None = None) -> T:
    """Return what `make` returns, cached for `seconds` (default: 2) for all viewers with the same rights.

    Args:
        asked: Everything else that the value depends on.
    """
    asked_for = (name, asked, viewer().sight)
    return shelf().get(asked_for, make, KEPT_SECONDS if seconds is None else seconds, is_polled=LIVE in request.headers)


def shelf() -> Shelf:
    """Return the shelf of the current application."""
    return cast(Shelf, current_app.extensions.setdefault("haulier_shelf", Shelf()))
