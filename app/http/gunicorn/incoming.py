"""The requests of one connection, each parsed once by gunicorn's parser before it is answered.

The body is read whole too, so that its framing is known to be valid before the application sees the request. A request
with invalid framing gets one answer, and the bytes after it are never read as another request.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from ..routes import BODY_BYTES
from .inbox import Inbox, Stage


class _Request(Request):  # type: ignore[misc]  # gunicorn has no types
    """A request; gunicorn would parse its client's address each time, to see whether that is a proxy of ours."""

    def _peer_is_trusted_proxy(self) -> bool:
        inbox: Inbox = self.unreader
        if inbox.is_of_proxy is None:
            inbox.is_of_proxy = bool(super()._peer_is_trusted_proxy())
        return inbox.is_of_proxy


class Incoming(RequestParser):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's parser, without waiting: call `advance` first, and `next` when there is a request to answer.

    `longer` maps methods and paths to the longest body, if that is more than BODY_BYTES. The application refuses a
    longer one, and need not wait for the rest of it.
    """

    mesg_class = _Request

    def __init__(self, cfg: Any, client: Any, longer: Mapping[tuple[str, str], int]) -> None:
        super().__init__(cfg, (), client)
        self._longer = longer
        self.unreader = self.inbox = Inbox()
        self._error: BaseException | None = None
        self._found: Any = None

    def advance(self, *, takes_body: bool = True) -> Stage:
        """Parse the bytes that have come, and return how much of a request they are; the body may be left for later."""
        stage = self.inbox.look()
        if stage is Stage.HEAD_WHOLE:
            self._parse_head()
            stage = self.inbox.look()
        if takes_body and stage in (Stage.WHOLE, Stage.CUT) and self._error is None:
            self._take_body(stage)
        return stage

    def __next__(self) -> Any:
        """Return the request. Raises: the errors of gunicorn's parser."""
        found, error = self._found, self._error
        self._found = self._error = None
        if error is not None:
            raise error
        return found

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Forget the body, which an idle connection would keep, and return True: none of it is left on the socket."""
        if self.mesg is not None:
            self.mesg.body = None
        return True

    def _parse_head(self) -> None:
        self.inbox.hand_head()
        try:
            self._found = super().__next__()
        # gunicorn has a dozen errors, and raises StopIteration for a connection that has ended.
        except Exception as error:
            self._error = error
            self.inbox.cut()
            return
        self.inbox.take_back()
        reader = self._found.body.reader
        length = reader.length if isinstance(reader, LengthReader) else None
        self.inbox.expect(length, self._longer.get((self._found.method, self._found.path), BODY_BYTES))
        self.inbox.expects_continue = self._found._expected_100_continue

    def _take_body(self, stage: Stage) -> None:
        request = self._found
        if stage is Stage.CUT:
            # Nobody knows where the next request would begin.
            request.force_close()
        if not isinstance(request.body.reader, ChunkedReader):
            request.body = io.BytesIO(self.inbox.take(request.body.reader.length))
            return
        try:
            # One byte more than allowed, so that the application can see that the body is too long.
            request.body = io.BytesIO(request.body.read(self.inbox.most + 1))
        except NoMoreData:
            self._error = ChunkMissingTerminator(b"")
        except Exception as error:
            self._error = error
        else:
            self.inbox.take_back()
