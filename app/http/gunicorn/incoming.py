"""The requests of one connection, each parsed once, by gunicorn's parser, before anything is done about it.

A body is taken whole as well, so that it is known to be well framed before the application sees the request: what is
not gets one answer, and what comes behind it is never taken for another request.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData
from gunicorn.http.parser import RequestParser

from ..routes import BODY_BYTES
from .inbox import Inbox, Stage


class Incoming(RequestParser):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's parser, which waits for nobody: `advance` first, and `next` when there is a request to answer.

    Shape: longer is how long the bodies of some methods and paths may be. What is longer still is refused by the
           application, which need not wait for it.
    """

    def __init__(self, cfg: Any, client: Any, longer: Mapping[tuple[str, str], int]) -> None:
        super().__init__(cfg, (), client)
        self._longer = longer
        self.unreader = self.inbox = Inbox()
        self._error: BaseException | None = None
        self._found: Any = None

    def advance(self, *, takes_body: bool = True) -> Stage:
        """Parse what has come, and tell how much of a request it is; its body may be left for another time."""
        stage = self.inbox.look()
        if stage is Stage.HEAD_WHOLE:
            self._parse_head()
            stage = self.inbox.look()
        if takes_body and stage in (Stage.WHOLE, Stage.CUT) and self._error is None:
            self._take_body(stage)
        return stage

    def __next__(self) -> Any:
        """Return the request. Raises: what gunicorn's parser has raised."""
        found, error = self._found, self._error
        self._found = self._error = None
        if error is not None:
            raise error
        return found

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Return that nothing is left of the body: it was taken before the application was asked."""
        return True

    def _parse_head(self) -> None:
        self.inbox.hand_head()
        try:
            self._found = super().__next__()
        # gunicorn has a dozen errors, and StopIteration for a connection that is at its end.
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
            # Where the next request would begin is not known.
            request.force_close()
        if not isinstance(request.body.reader, ChunkedReader):
            request.body = io.BytesIO(self.inbox.take(request.body.reader.length))
            return
        try:
            # One more than may be, so that the application sees that it is too long.
            request.body = io.BytesIO(request.body.read(self.inbox.most + 1))
        except NoMoreData:
            self._error = ChunkMissingTerminator(b"")
        except Exception as error:
            self._error = error
        else:
            self.inbox.take_back()
