"""Reads what a page shows: each part by itself, in its own time, and at most once in 2 s for all who see the same.

Pages that stay open ask for what is slow to read less often still.
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

from ..http.service import connection
from . import pace
from .viewer import viewer

# The header by which a page that is open asks whether it has changed.
LIVE = "Haulier-Live"

T = TypeVar("T")
Task = Callable[[Connection], T]

PART_SECONDS, LOCK_SECONDS = 0.3, 0.2
KEPT_SECONDS = 2.0
# What an open page asks for again and again takes this share of a thread at most, unless it is so old: a busy database
# has other things to do, and a slow page would ask it the most.
POLLED_SHARE, POLLED_SECONDS = 0.01, 5.0
# What is kept is what pages show, and not whole jobs: so many are some megabytes. An overview takes up to 16.
MOST_KEPT = 500


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a page. Shape: late says why it is not there; then value is None."""

    value: T | None
    late: str = ""


def read(task: Task[T]) -> T:
    """Return what the task reads, under the deadlines of its statements. Raises: DatabaseUnavailable; …"""
    with pace.of_database(), connection() as conn:
        return task(conn)


def part(task: Task[T], *, seconds: float = PART_SECONDS) -> Part[T]:
    """Return what the task reads, each statement of it within so many seconds; or why not.

    Raises: DatabaseUnavailable where the database cannot be reached at all.
    """

    def look(conn: Connection) -> T:
        with bounded(seconds=seconds, lock_seconds=LOCK_SECONDS):
            return task(conn)

    return _or_late(look, f"the database took longer than {1000 * seconds:.0f} ms")


def searched(task: Task[T]) -> Part[T]:
    """Return what the task reads, which bounds itself by several transactions; or why not."""
    return _or_late(task, "the database took too long")


def _or_late(task: Task[T], why: str) -> Part[T]:
    try:
        return Part(read(task))
    except Locked:
        return Part(None, "somebody has locked what is read here")
    except RefusedForNow:
        return Part(None, why)
    except StatementRefused as error:
        return Part(None, f"the database refuses it: {reason(error)}")


@dataclass(eq=False, slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float = float("-inf")
    took: float = 0.0
    value: Any = None

    def fits(self, seconds: float, *, is_polled: bool) -> bool:
        """Tell whether it is not too old for whoever wants it to be so old at most."""
        # What could not be read is soon tried again.
        if isinstance(self.value, Part) and self.value.late:
            seconds = min(seconds, KEPT_SECONDS)
        elif is_polled:
            seconds = max(seconds, min(POLLED_SECONDS, self.took / POLLED_SHARE))
        return time.monotonic() < self.made_at + seconds


class Shelf:
    """What was read lately, by what was asked. One thread reads; those that ask for the same meanwhile wait for it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._lock = threading.Lock()

    def get(self, asked: tuple[object, ...], make: Callable[[], T], seconds: float, *, is_polled: bool = False) -> T:
        """Return what is kept under these words if it is not older, else what `make` returns, which is then kept.

        Shape: is_polled tells that nobody waits for it, and that it may be somewhat older where it is slow to make.
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
        """Forget all: somebody has just changed something, and wants to see it."""
        with self._lock:
            self._kept.clear()


def kept(name: str, asked: tuple[object, ...], make: Callable[[], T], *, seconds: float | None = None) -> T:
    """Return what `make` returns, kept for so many seconds, 2 unless told, for all who may see the same.

    Shape: asked is all on which it depends, beside the viewer's rights.
    """
    asked_for = (name, asked, viewer().sight)
    return shelf().get(asked_for, make, KEPT_SECONDS if seconds is None else seconds, is_polled=LIVE in request.headers)


def shelf() -> Shelf:
    """Return the shelf of the current application."""
    return cast(Shelf, current_app.extensions.setdefault("haulier_shelf", Shelf()))
