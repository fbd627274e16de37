"""The answers of one process, as gunicorn writes them, without work that has the same result each time."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

from gunicorn import util
from gunicorn.http import wsgi

from ..request_log import NOT_KEPT, ON_DATA, ON_PAGES

# gunicorn checks each header of each answer by two regular expressions. These are constants, which a test has checked.
_CHECKED = frozenset([*ON_DATA, *ON_PAGES, NOT_KEPT])


class Outgoing(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """An answer whose standard headers are known to be valid."""

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the standard headers as they are, and check all others."""
        for header in headers:
            if header in _CHECKED:
                self.headers.append(header)
            else:
                super().process_headers([header])


_date_of = functools.lru_cache(maxsize=1)(util.http_date)


def http_date() -> str:
    """Return the time for the header Date, which is the same for a second."""
    date: str = _date_of(int(time.time()))
    return date


def use() -> None:
    """Have gunicorn write its answers so: it has no setting for this."""
    wsgi.Response, util.http_date = Outgoing, http_date
