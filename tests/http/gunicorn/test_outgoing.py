"""Answers are written as gunicorn writes them, without its checks of what never changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from gunicorn.http import wsgi
from gunicorn.http.errors import InvalidResponseHeader

from app.http.gunicorn.outgoing import Outgoing, http_date
from app.http.request_log import with_standard


def processed(kind: type[wsgi.Response], sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    response = kind(None, None, None)
    response.process_headers(sent)
    return [*response.headers, ("length", str(response.response_length))]


def test_takes_the_standard_headers_as_gunicorn_does() -> None:
    for content_type in ("application/json", "text/html"):
        sent = with_standard([("Content-Type", content_type), ("Content-Length", "7"), ("Connection", "close")])
        assert processed(Outgoing, sent) == processed(wsgi.Response, sent)


def test_still_refuses_a_header_that_would_split_the_answer() -> None:
    with pytest.raises(InvalidResponseHeader):
        processed(Outgoing, [("Location", "/jobs\r\nSet-Cookie: a=b")])


def test_dates_an_answer_by_the_clock() -> None:
    assert abs(parsedate_to_datetime(http_date()) - datetime.now(UTC)) < timedelta(seconds=2)
