"""Lists of the API, page after page, up to as many items as somebody wants to see."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from haulier.client.api import Answer, Api, Json, Query
from haulier.client.api_errors import Refused

MOST_A_PAGE = 200
# A page takes the service some 0.1 s, and may be empty if what is looked for is rare.
LOOK_SECONDS = 10.0


class Listing:
    """The items of a list. `looked_back_to` is set if the seconds were over before all were found."""

    def __init__(
        self, api: Api, path: str, query: Query, *, limit: float = math.inf, seconds: float = LOOK_SECONDS
    ) -> None:
        self._api, self._path, self._query, self._left, self._seconds = api, path, list(query), limit, seconds
        self.looked_back_to: str | None = None

    def __iter__(self) -> Iterator[Json]:
        until, cursor, seen = time.monotonic() + self._seconds, "", {""}
        while self._left > 0:
            answer = self._page(cursor)
            items = answer.body[: min(self._left, MOST_A_PAGE)]
            self._left -= len(items)
            yield from items
            if "Next-Cursor" not in answer.headers:
                return
            cursor = answer.headers["Next-Cursor"]
            # A list that comes back to a place would never end.
            if cursor in seen:
                raise self._unusual("repeats the cursor of a list")
            seen.add(cursor)
            if time.monotonic() > until and self._left:
                self.looked_back_to = answer.headers.get("Looked-Back-To")
                return

    def _page(self, cursor: str) -> Answer:
        paging = [("limit", str(min(self._left, MOST_A_PAGE))), *([("cursor", cursor)] if cursor else [])]
        answer = self._api.get(self._path, [*self._query, *paging])
        if not isinstance(answer.body, list):
            raise self._unusual("did not answer with a list")
        return answer

    def _unusual(self, what: str) -> Refused:
        return Refused(f"{self._api.service.host} {what}: is the URL right?", status=200)
