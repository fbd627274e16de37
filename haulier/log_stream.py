"""stdout and stderr that hold nobody up: a write waits a second at most and never fails; what is lost is counted."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# For a reader that is merely slow, which reads in less. One that has stopped costs this once: as long as it takes
# nothing, no further write waits.
PATIENCE_SECONDS = 1.0


class LogStream(io.RawIOBase):
    """Writes to this descriptor. `lost` counts the writes of which all or a part was dropped."""

    def __init__(self, file: int, name: str) -> None:
        super().__init__()
        self.lost = 0
        self.name = name
        self._file, self._own = file, _without_waiting(file)
        self._is_stuck = False
        # Whether the last write was lost in the middle of a line.
        self._is_cut = False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that was given."""
        return self._file

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._file)

    def write(self, data: ReadableBuffer) -> int:
        """Write all of it, or lose the rest; return its length in either case."""
        whole = bytes(data)
        rest = b"\n" + whole if self._is_cut else whole
        size, until = len(rest), time.monotonic() + PATIENCE_SECONDS
        while rest:
            try:
                taken = os.write(self._own, rest)
            except OSError as error:
                if isinstance(error, BlockingIOError) and self._waits(until):
                    continue
                self._is_stuck = isinstance(error, BlockingIOError)
                self._is_cut = self._is_cut or len(rest) < size
                self.lost += 1
                return len(whole)
            rest = rest[taken:]
        self._is_stuck = self._is_cut = False
        return len(whole)

    def _waits(self, until: float) -> bool:
        """Wait until it takes more, or the time is up; True to try again."""
        left = until - time.monotonic()
        if self._is_stuck or left <= 0:
            return False
        poll = select.poll()
        poll.register(self._own, select.POLLOUT)
        poll.poll(1000 * left)
        return True


def _without_waiting(file: int) -> int:
    """Return a descriptor of the same file; a write to a pipe or socket fails there instead of waiting."""
    mode = os.fstat(file).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return file
    # Opened again, since the flag belongs to what is opened: programs that handlers start write to the given one, and
    # few bear a write that fails. Sockets and other users' pipes cannot be opened, and only Linux can do this.
    with suppress(OSError):
        return os.open(f"/proc/self/fd/{file}", os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(file, False)
    return file


def take_over() -> None:
    """Have this process's stdout and stderr written so. Safe to call again."""
    if _is_pythons(sys.stdout, sys.__stdout__):
        sys.stdout = _opened(sys.stdout)
    if _is_pythons(sys.stderr, sys.__stderr__):
        sys.stderr = _opened(sys.stderr)


def _is_pythons(stream: TextIO | None, original: TextIO | None) -> bool:
    # There is none if the program was started with it closed.
    return stream is not None and stream is original


def _opened(stream: TextIO) -> TextIO:
    with suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        LogStream(stream.fileno(), stream.name), stream.encoding, "backslashreplace", line_buffering=True
    )


def stream_of(stream: object) -> LogStream | None:
    """Return what such a stream writes to, or None for any other."""
    below = getattr(stream, "buffer", None)
    return below if isinstance(below, LogStream) else None
