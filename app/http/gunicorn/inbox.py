"""The bytes that have come on a connection, and how much of a request they are; it never waits for more.

This module only finds the end of a head, and says when a body may be whole; only gunicorn's parser interprets both.
"""

from __future__ import annotations

import re
import socket
from enum import Enum, auto

from gunicorn.http.unreader import Unreader

HEAD_BYTES = 64 * 1024
LINE_BYTES = 8192
RECEIVE_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
# Enough for a stream of lines, with a chunk or two for each. Chunks of a byte cost a thousand times what they hold.
MOST_CHUNKS = 32 * 1024

_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(;|\Z)")


class Stage(Enum):
    """How much of a request is there."""

    EMPTY = auto()  # nothing yet
    HEAD = auto()  # some of its head
    HEAD_WHOLE = auto()  # its head, which is still to be parsed
    BODY = auto()  # its head, parsed, and some of its body
    WHOLE = auto()
    CUT = auto()  # enough to refuse it: the rest is invalid or too long
    HEAD_TOO_LONG = auto()


WAITING = frozenset([Stage.EMPTY, Stage.HEAD, Stage.BODY])


class Inbox(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """The bytes of one connection, for gunicorn's parser; if it would have to wait for more, it reads an end."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._ended = False
        # Whether the client is a proxy that may say where its requests come from; None: not found out yet.
        self.is_of_proxy: bool | None = None
        self.begin()

    def begin(self) -> None:
        """Treat the bytes from here on as a new request."""
        self.take_back()
        self._searched = 0
        self._stage = Stage.EMPTY
        self._length: int | None = 0
        self.most = 0
        self._at = self._decoded = self._chunks = 0
        self.expects_continue = False

    def __len__(self) -> int:
        return len(self._data)

    @property
    def has_more(self) -> bool:
        """Return whether the next request has begun to come."""
        return bool(self._data)

    @property
    def missing(self) -> int:
        """Return how many bytes of a body are still to come, at most."""
        if self._length is None:
            return self.most
        return max(0, self._length - len(self._data))

    @property
    def is_over(self) -> bool:
        """Return whether the client has left without a further request."""
        return self._ended and not self._data and self._stage is Stage.EMPTY

    def receive(self, sock: socket.socket) -> Stage:
        """Receive the bytes that are there, and return how much of a request has come. Raises: OSError."""
        try:
            received = sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self.look()
        self._data += received
        if not received:
            self._ended = True
        return self.look()

    def look(self) -> Stage:
        """Tell how much of a request has come."""
        if self._stage is Stage.BODY:
            self._stage = self._walk() if self._length is None else self._measure(self._length)
        elif self._stage in WAITING:
            self._stage = self._look_for_head()
        if self._ended:
            self._give_up()
        return self._stage

    def hand_head(self) -> None:
        """Let the parser read the head and nothing after it."""
        self.buf.write(self.take(self._searched))

    def take_back(self) -> None:
        """Take back the bytes that the parser has read and not used."""
        if unused := self.take_buffered():
            self._data[:0] = unused

    def expect(self, length: int | None, most: int) -> None:
        """Wait for a body of this length, or for chunks if it is None; more than `most` is not waited for."""
        self._length, self.most, self._stage = length, most, Stage.BODY

    def cut(self) -> None:
        """Wait for nothing more of this request."""
        self._stage = Stage.CUT

    def take(self, size: int) -> bytes:
        """Remove and return this many of the bytes that have come, or fewer if there are fewer."""
        with memoryview(self._data) as view:
            taken = bytes(view[:size])
        del self._data[:size]
        return taken

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece to gunicorn's parser; nothing at the end, or after the head."""
        if self._stage not in (Stage.WHOLE, Stage.CUT):
            return b""
        # A small piece, even if more is asked for: bytes that are not used are copied back each time.
        return self.take(min(max(LINE_BYTES, size_hint or 0), PIECE_BYTES))

    def _give_up(self) -> None:
        # Nothing more will come: let the parser report the error in the bytes that have.
        if self._stage is Stage.HEAD:
            self._searched, self._stage = len(self._data), Stage.HEAD_WHOLE
        elif self._stage is Stage.BODY:
            self._stage = Stage.CUT

    def _look_for_head(self) -> Stage:
        if not self._data:
            return Stage.EMPTY
        end = self._data.find(b"\r\n\r\n", self._searched)
        if end > HEAD_BYTES - 4 or (end < 0 and len(self._data) > HEAD_BYTES):
            return Stage.HEAD_TOO_LONG
        if end < 0 and _BARE_LF.search(self._data, self._searched):
            # With a bare line feed in it the head is invalid: let the parser say so.
            self._searched = len(self._data)
            return Stage.HEAD_WHOLE
        self._searched = max(0, len(self._data) - 3) if end < 0 else end + 4
        return Stage.HEAD if end < 0 else Stage.HEAD_WHOLE

    def _measure(self, length: int) -> Stage:
        if length > self.most:
            return Stage.CUT
        return Stage.WHOLE if len(self._data) >= length else Stage.BODY

    def _walk(self) -> Stage:
        """Walk over the new chunks, from where the last walk ended; once all have come, the parser reads them."""
        data = self._data
        while self._chunks <= MOST_CHUNKS:
            line_end = data.find(b"\r\n", self._at, self._at + LINE_BYTES)
            if line_end < 0:
                return Stage.BODY if len(data) - self._at < LINE_BYTES else Stage.CUT
            found = _CHUNK_SIZE.match(data, self._at, line_end)
            if found is None:
                return Stage.CUT
            if (size := int(found[1], 16)) == 0:
                return self._find_end(line_end)
            if stage := self._walk_over(line_end + 2, size):
                return stage
        return Stage.CUT

    def _walk_over(self, begin: int, size: int) -> Stage | None:
        data, end = self._data, begin + size
        if self._decoded + min(size, len(data) - begin) > self.most:
            return Stage.CUT
        if len(data) < end + 2:
            return Stage.BODY
        if data[end : end + 2] != b"\r\n" or end > 2 * self.most:
            return Stage.CUT
        self._at, self._decoded, self._chunks = end + 2, self._decoded + size, self._chunks + 1
        return None

    def _find_end(self, line_end: int) -> Stage:
        # After the last chunk come the trailers, usually none.
        if self._data.find(b"\r\n\r\n", line_end) >= 0:
            return Stage.WHOLE
        return Stage.BODY if len(self._data) - line_end <= HEAD_BYTES else Stage.CUT
