"""What a handler may say of its progress: the context …"""

from __future__ import annotations

import time
from enum import Enum

import pytest

from haulier.config import Config
from haulier.kinds import JobContext
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
