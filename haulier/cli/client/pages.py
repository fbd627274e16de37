"""Lists of the API, page after page, up to as many items as somebody wants to see."""

from __future__ import annotations

import time
from collections.abc import Iterator

from haulier.cli.client.api import Api, Json, Query
from haulier.cli.client.errors import Code, CommandError

MOST_A_PAGE = 200
# A page takes the service some 0.1 s, and may be empty where what is looked for is rare.
LOOK_SECONDS = 10.0


class Listing:
    """The items of a list. Shape: looked_back_to is set where it has ended before all were found."""

    def __init__(self, api: Api, path: str, query: Query, *, limit: int) -> None:
        self._api, self._path, self._query, self._left = api, path, list(query), limit
        self.looked_back_to: str | None = None

    def __iter__(self) -> Iterator[Json]:
        until, cursor = time.monotonic() + LOOK_SECONDS, None
        while self._left:
            paging = [("limit", str(min(self._left, MOST_A_PAGE))), *([("cursor", cursor)] if cursor else [])]
            answer = self._api.get(self._path, [*self._query, *paging])
            if not isinstance(answer.body, list):
                raise CommandError(
                    f"{self._api.service.host} answers with no list: is its URL right?", Code.UNREACHABLE
                )
            self._left -= len(answer.body)
            yield from answer.body
            cursor = answer.headers.get("Next-Cursor")
            if cursor is None:
                return
            if time.monotonic() > until and self._left:
                self.looked_back_to = answer.headers.get("Looked-Back-To")
                return
