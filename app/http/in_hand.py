"""Limits how many bytes of large requests a process parses at once: as objects they can take thirty times as much."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager

from haulier.domain.errors import HaulierError

from .errors import Busy

WAIT_SECONDS = 20.0


class Room:
    """Room for a number of bytes, shared by all threads."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    def taken(self, size: int) -> AbstractContextManager[None]:
        """Take this much room, or all of it, for a `with` block. Raises: Busy, when there is none for WAIT_SECONDS."""
        return _Taken(self, min(size, self._size))

    def take(self, size: int) -> None:
        """Take exactly this much room. Raises: Busy."""
        deadline = time.monotonic() + WAIT_SECONDS
        # Only one thread waits for room, the others for their turn: otherwise small requests could overtake a large one
        # for ever.
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            raise Busy
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: self._free >= size, deadline - time.monotonic()):
                    raise Busy
                self._free -= size
        finally:
            self._turn.release()

    def give_back(self, size: int) -> None:
        """Give this much room back."""
        with self._changed:
            self._free += size
            self._changed.notify()


class _Taken:
    # A class and not @contextmanager, which would restore the traceback that `__exit__` removes.

    def __init__(self, room: Room, size: int) -> None:
        self._room, self._size = room, size

    def __enter__(self) -> None:
        self._room.take(self._size)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, HaulierError):
            # Until the error is answered, these would keep the parsed request alive, outside of the room given back.
            error.__context__ = error.__traceback__ = None
        self._room.give_back(self._size)
