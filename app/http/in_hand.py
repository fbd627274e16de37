"""How much of large requests a process has in hand at once: as objects they can take thirty times their room."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager

from haulier.domain.errors import HaulierError

from .errors import Busy

WAIT_SECONDS = 20.0


class Room:
    """Room for so many bytes, given to whoever asks first."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    def taken(self, size: int) -> AbstractContextManager[None]:
        """Take so much of it, or all, while something is done. Raises: Busy, when it was not to be had for long."""
        return _Taken(self, min(size, self._size))

    def take(self, size: int) -> None:
        """Take exactly so much. Raises: Busy."""
        deadline = time.monotonic() + WAIT_SECONDS
        # Only the first in the row waits for room: many small ones never go before a large one for ever.
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
        """Give back what was taken."""
        with self._changed:
            self._free += size
            self._changed.notify()


class _Taken:
    # Not by @contextmanager, which would put the traceback back.

    def __init__(self, room: Room, size: int) -> None:
        self._room, self._size = room, size

    def __enter__(self) -> None:
        self._room.take(self._size)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, HaulierError):
            # Until it is answered they would keep what it was raised at.
            error.__context__ = error.__traceback__ = None
        self._room.give_back(self._size)
