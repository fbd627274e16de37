"""What has come of a request, without waiting for more, and whether it is whole; gunicorn's parser reads from it."""

from __future__ import annotations

import re
import socket
from enum import Enum, auto

from gunicorn.http.unreader import Unreader

# Those of app.api.reading and app.api.batch: a longer body is refused by the application, which need not wait for it.
BODY_BYTES = 1024 * 1024
BATCH_BYTES = 16 * 1024 * 1024
BATCH_TARGET = b"POST /jobs/batch"

HEAD_BYTES = 64 * 1024
LINE_BYTES = 8192
RECEIVE_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024

_LENGTHS = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_CODINGS = re.compile(rb"\r\ntransfer-encoding[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_NO_CRLF = re.compile(rb"\n\r?\n")
_EXPECTS = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue[ \t]*\r\n")


class Stage(Enum):
    """How much of a request is there."""

    EMPTY = auto()  # nothing yet
    HEAD = auto()  # some of its head
    BODY = auto()  # its head, and some of its body
    WHOLE = auto()
    CUT = auto()  # as much as is needed to refuse it: what follows is not understood, or not wanted
    HEAD_TOO_LONG = auto()


class Inbox(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """The bytes of one connection. A request is handed on when it is whole, so that nobody waits for the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()
        self._ended = False
        self.begin()

    def begin(self) -> None:
        """Look at what has come from here on as at a new request."""
        # What the parser has read too far.
        self._data[:0] = self.take_buffered()
        self._head_end = self._searched = 0
        self._length: int | None = 0
        self._at = self._decoded = 0
        self._stage = Stage.EMPTY
        self.expects_continue = False

    def __len__(self) -> int:
        return len(self._data)

    @property
    def has_more(self) -> bool:
        """Tell whether a request after the one that was handed on has begun to come."""
        return bool(self._data) or bool(self.buf.getbuffer().nbytes)

    @property
    def missing(self) -> int:
        """Return how many bytes of a body are still to come, at most."""
        if self._length is None:
            return self._most
        return max(0, self._head_end + self._length - len(self._data))

    def receive(self, sock: socket.socket) -> Stage:
        """Take what is there, and tell how much of a request it makes. Raises: OSError."""
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
        stage = self._look()
        if self._ended and stage in (Stage.HEAD, Stage.BODY):
            # Nothing more will: the parser says what is wrong with it.
            return Stage.CUT
        return stage

    @property
    def is_over(self) -> bool:
        """Tell whether the client has left, having asked for nothing."""
        return self._ended and not self._data

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece to gunicorn's parser, and nothing at the end, rather than wait."""
        # No more, though it may be asked for: what is too much is copied back, each time.
        size = min(max(LINE_BYTES, size_hint or 0), PIECE_BYTES)
        with memoryview(self._data) as view:
            piece = bytes(view[:size])
        del self._data[:size]
        return piece

    def _look(self) -> Stage:
        if not self._data:
            return Stage.EMPTY
        if not self._head_end:
            end = self._data.find(b"\r\n\r\n", self._searched)
            if end < 0:
                self._searched = max(0, len(self._data) - 3)
                if _NO_CRLF.search(self._data):
                    return Stage.CUT
                return Stage.HEAD if len(self._data) <= HEAD_BYTES else Stage.HEAD_TOO_LONG
            self._head_end = self._at = end + 4
            self._stage = self._frame(bytes(self._data[: end + 2]).lower())
        if self._stage is not Stage.BODY:
            return self._stage
        if self._length is None:
            self._stage = self._walk()
        elif len(self._data) >= self._head_end + self._length:
            self._stage = Stage.WHOLE
        return self._stage

    def _frame(self, head: bytes) -> Stage:
        """Find out how the request says where its body ends; where it does so in two ways, gunicorn is to judge."""
        self._most = BATCH_BYTES if self._data.startswith(BATCH_TARGET) else BODY_BYTES
        lengths, codings = _LENGTHS.findall(head), _CODINGS.findall(head)
        if not lengths and not codings:
            return Stage.WHOLE
        self.expects_continue = _EXPECTS.search(head) is not None
        if codings:
            self._length = None
            return Stage.BODY if codings == [b"chunked"] and not lengths else Stage.CUT
        if len(lengths) != 1 or not re.fullmatch(rb"[0-9]{1,12}", lengths[0]):
            return Stage.CUT
        self._length = int(lengths[0])
        return Stage.BODY if self._length <= self._most else Stage.CUT

    def _walk(self) -> Stage:
        """Walk over the chunks that have come, from where the last look ended."""
        data = self._data
        while True:
            line_end = data.find(b"\r\n", self._at, self._at + LINE_BYTES)
            if line_end < 0:
                return Stage.BODY if len(data) - self._at < LINE_BYTES else Stage.CUT
            digits = bytes(data[self._at : line_end]).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", digits):
                return Stage.CUT
            if (size := int(digits, 16)) == 0:
                return self._find_end(line_end)
            if stage := self._walk_over(line_end + 2, size):
                return stage

    def _walk_over(self, begin: int, size: int) -> Stage | None:
        data, end = self._data, begin + size
        if self._decoded + min(size, len(data) - begin) > self._most:
            return Stage.CUT
        if len(data) < end + 2:
            return Stage.BODY
        # Chunks of a byte or two would take many times what they hold.
        if data[end : end + 2] != b"\r\n" or end - self._head_end > 2 * self._most:
            return Stage.CUT
        self._at, self._decoded = end + 2, self._decoded + size
        return None

    def _find_end(self, line_end: int) -> Stage:
        # The trailers, which are none as a rule.
        if self._data.find(b"\r\n\r\n", line_end) >= 0:
            return Stage.WHOLE
        return Stage.BODY if len(self._data) - line_end <= HEAD_BYTES else Stage.CUT
