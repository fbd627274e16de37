"""What a handler may say: how far it has come, and by Retry.after when to try again. It ..."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from enum import Enum
from types import SimpleNamespace

import pytest
import requests

from haulier.config import Config
from haulier.kinds import JobContext, Retry
from tests.kinds.kinds_tools import a_job


@pytest.fixture
def context() -> JobContext:
    return JobContext(a_job("mail"), Config("postgres://unused"))


def test_keeps_what_was_said_last_and_when(context):
    before = time.monotonic()
    assert context.said is None

    context.progress(1, 3)
    context.progress(2.5, 3, "the second page")

    assert context.said[:3] == (2.5, 3, "the second page")
    assert before <= context.said.said_at <= time.monotonic()


def test_takes_any_number_that_a_client_can_read(context):
    for words in ((0,), (2**53, 2**53), (0.0, 1e15), (7, 5), (5, None, None), (5e-324, 0, ""), (1, 2, "ä" * 200)):
        context.progress(*words)

        assert context.said[:3] == (*words, None, None)[:3]


def test_refuses_plainly_what_cannot_be_shown_and_keeps_what_was_said_before(context):
    context.progress(3)
    no_numbers = {"5": "str", None: "NoneType", True: "bool", 1j: "complex"}
    out_of_range = (-1, -0.5, float("nan"), float("inf"), 2**53 + 1, 10**400)

    for words, error, says in (
        *(((each,), TypeError, f"done must be a number, not {name}") for each, name in no_numbers.items()),
        *(((1, each), TypeError, f"total must be a number, not {name}") for each, name in no_numbers.items() if each),
        *(((each,), ValueError, "done must be from 0 to") for each in out_of_range),
        *(((1, each), ValueError, "total must be from 0 to") for each in out_of_range),
        ((1, 2, 3), TypeError, "note must be a string, not int"),
        ((1, 2, b"x"), TypeError, "note must be a string, not bytes"),
    ):
        with pytest.raises(error, match=f"progress: {says}"):
            context.progress(*words)

    assert context.said.done == 3


class Pages(int, Enum):
    FIRST = 1
    LAST = 5


def test_keeps_of_a_number_of_a_class_of_its_own_the_number_alone(context):
    context.progress(Pages.FIRST, Pages.LAST)

    # It is written into a statement as text.
    assert list(map(str, context.said[:2])) == ["1.0", "5.0"]


# --- When to try again


def test_takes_the_seconds_of_a_response_of_requests(receiver):
    receiver.replies(429, Retry_After="120")

    retry = Retry.after(requests.get(receiver.url, timeout=5))

    assert (retry.seconds, str(retry)) == (120, "answered 429")


def test_takes_the_seconds_of_a_response_of_urllib(receiver):
    receiver.replies(503, Retry_After="7")

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(receiver.url, timeout=5)

    with caught.value as answer:
        retry = Retry.after(answer)
    assert (retry.seconds, str(retry)) == (7, "answered 503")


def test_takes_the_seconds_of_headers_alone_in_any_case_of_letters():
    message = Message()
    message["RETRY-AFTER"] = "30"

    assert Retry.after({"retry-AFTER": "30"}).seconds == 30
    assert Retry.after(message).seconds == 30
    assert str(Retry.after({})) == "the handler asked for a retry"


def test_keeps_the_class_and_the_text_that_it_is_given():
    class RateLimited(Retry):
        pass

    retry = RateLimited.after({"Retry-After": "30"}, "the shop is closed")

    assert (type(retry), str(retry)) == (RateLimited, "the shop is closed")


def test_takes_a_date_and_waits_for_an_hour_at_most_by_default():
    for zone, delta, seconds in (
        ("GMT", timedelta(minutes=5), 300),
        ("-0000", timedelta(minutes=5), 300),
        ("GMT", timedelta(days=5), 3600),
    ):
        date = format_datetime(datetime.now(UTC) + delta, usegmt=True).replace("GMT", zone)

        assert Retry.after({"Retry-After": date}).seconds == pytest.approx(seconds, abs=10)
    for value, most in (("86400", {}), ("9" * 5000, {}), ("86400", {"most": 90_000})):
        assert Retry.after({"Retry-After": value}, **most).seconds == (86_400 if most else 3600)


def test_leaves_the_back_off_alone_if_nothing_sensible_is_asked():
    values = ["", "0", "-5", "soon", "1.5", "inf", "nan", "١٢", "1e3", "60, 120", "Wed, 99 Oct"]
    values += ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "Mon, 1 Jan 0001 00:00:00 GMT"]
    values += ["Wed, 21 Oct 2015 07:28:00 +999999", "Fri, 31 Dec 9999 25:61:61 -2359", "Mon, 1 Jan 0001 00:00:00 +2359"]

    assert [each for each in values if Retry.after({"Retry-After": each}).seconds is not None] == []
    for response in (None, {}, SimpleNamespace(headers={}), SimpleNamespace(headers=None)):
        assert Retry.after(response).seconds is None
