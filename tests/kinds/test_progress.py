"""What a handler may say of its progress: the context ..."""

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

    context.progress(1, 3)
    context.progress(2.5, 3, "the second page")

    assert context.said is not None
    assert context.said[:3] == (2.5, 3, "the second page")
    assert before <= context.said.said_at <= time.monotonic()


def test_has_nothing_to_tell_where_nothing_was_said(context):
    assert context.said is None


@pytest.mark.parametrize(
    "words",
    [(0,), (2**53, 2**53), (0.0, 1e15), (7, 5), (5, None, None), (5e-324, 0, ""), (1, 2, "ä" * 200), (True + 0, 1)],
    ids=str,
)
def test_takes_any_number_that_a_client_can_read(context, words):
    context.progress(*words)

    assert context.said is not None
    assert context.said[:3] == (*words, None, None)[:3]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("5",), TypeError, "progress: done must be a number, not str"),
        ((None,), TypeError, "progress: done must be a number, not NoneType"),
        ((True,), TypeError, "progress: done must be a number, not bool"),
        ((1j,), TypeError, "progress: done must be a number, not complex"),
        ((-1,), ValueError, "progress: done must be from 0 to"),
        ((-0.5,), ValueError, "progress: done must be from 0 to"),
        ((float("nan"),), ValueError, "progress: done must be from 0 to"),
        ((float("inf"),), ValueError, "progress: done must be from 0 to"),
        ((2**53 + 1,), ValueError, "progress: done must be from 0 to"),
        ((10**400,), ValueError, "progress: done must be from 0 to"),
        ((1, "5"), TypeError, "progress: total must be a number, not str"),
        ((1, False), TypeError, "progress: total must be a number, not bool"),
        ((1, -5), ValueError, "progress: total must be from 0 to"),
        ((1, float("nan")), ValueError, "progress: total must be from 0 to"),
        ((1, 2, 3), TypeError, "progress: note must be a string, not int"),
        ((1, 2, b"x"), TypeError, "progress: note must be a string, not bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refuses_plainly_what_cannot_be_shown_and_keeps_what_was_said_before(context, words, error, says):
    context.progress(3)

    with pytest.raises(error, match=says):
        context.progress(*words)

    assert context.said is not None
    assert context.said.done == 3


class Pages(int, Enum):
    FIRST = 1
    LAST = 5


def test_keeps_of_a_number_of_a_class_of_its_own_the_number_alone(context):
    context.progress(Pages.FIRST, Pages.LAST)

    # It is written into a statement as text.
    assert context.said is not None
    assert list(map(str, context.said[:2])) == ["1.0", "5.0"]


def test_cuts_a_long_note(context):
    context.progress(1, note="n" * 201)

    assert context.said is not None
    assert context.said.note == "n" * 199 + "…"
