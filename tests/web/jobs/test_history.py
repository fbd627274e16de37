"""What happened to a job, in words, figures and a strip: it ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as some

from app.web.words.history import _TOLD, LOOKS, lines, stretches, summary, told
from haulier.domain.act import Act
from haulier.domain.timeline import Step, What, Why
from tests.web.tables import check_each

AT = datetime(2026, 11, 26, tzinfo=UTC)
RETRIED, WAITED, BEGAN = What.RETRIED, What.WAITED, What.BEGAN


def steps(*known: tuple[What, float, float | None], why: Why = Why.TURN) -> list[Step]:
    """Return steps: what, at which second, and how long."""
    made = [Step(AT + timedelta(seconds=at), what, why=why, seconds=took) for what, at, took in known]
    return [Step(AT, What.ENQUEUED), *made]


def test_says_every_step_and_act_in_words() -> None:
    known = [Step(AT, what, why=Why.TURN, by="ann", worker="dock:7", attempt=2, seconds=1.0) for what in [*What, *Act]]

    assert [line for line in lines(known) if not line.head] == []
    assert set(_TOLD) == set(What)
    assert lines([Step(AT, "newer_act")])[0].head == "Newer act"


def test_says_how_long_a_job_waited_and_ran_if_that_is_known() -> None:
    def said(seconds: float, *known: tuple[What, Why | None, float | None]) -> str:
        return summary([Step(AT, what, why=why, seconds=took) for what, why, took in known], seconds)

    turn, failed = (WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0)
    again = ((WAITED, Why.BACK_OFF, 60.0), (BEGAN, None, None), (What.SUCCEEDED, None, 3.0))
    assert said(66.0, turn, failed, *again) == "1 min 6 s: waited 1 min 2 s, ran 4.0 s"
    assert said(2.0, turn, (What.CANCELLED, None, None)) == "2.0 s: waited 2.0 s, ran 0 ms"
    # It was retried by hand a minute after it had failed.
    assert said(63.0, turn, failed, (RETRIED, None, None)) == ""
    assert said(3.0, (WAITED, Why.SNOOZED, 2.0), (What.SUCCEEDED, None, 1.0)) == ""
    assert said(3.0, (WAITED, Why.NOT_KNOWN, 2.0), (What.SUCCEEDED, None, 1.0)) == ""


def test_divides_the_time_of_a_job_into_stretches() -> None:
    def drawn(known: list[Step]) -> tuple[list[tuple[str, float]], str]:
        over = stretches(known)
        return [(each.look, each.seconds) for each in over], told(over)

    nothing = ([], "Nothing has finished yet")
    twice = steps((WAITED, 0, 2), (BEGAN, 2, None), (What.FAILED, 12, 10), (WAITED, 12, 8), (BEGAN, 20, None),
                  (What.SUCCEEDED, 25, 5))  # fmt: skip
    # It was retried by hand a minute after it had failed.
    by_hand = steps((WAITED, 0, 1), (What.FAILED, 3, 2), (What.FAILED_PERMANENT, 3, None), (RETRIED, 63, None),
                    (WAITED, 63, 1), (What.CANCELLED, 65, 1))  # fmt: skip
    # By their clocks the second attempt began before the first had ended, and the third ran for no time.
    by_odd_clocks = steps((What.FAILED, 5, 5), (What.FAILED, 9, 6), (What.FAILED, 9, 0), (What.FAILED, 4, 2))
    often = steps(*[each for at in range(0, 18, 3) for each in ((WAITED, at, 1), (What.FAILED, at + 3, 2))])
    check_each(
        drawn,
        (steps(), nothing),
        # What waits or runs goes on: the same at each look.
        (steps((WAITED, 0, None)), nothing),
        (steps((WAITED, 0, 2), (BEGAN, 2, None)), ([("queued", 2)], "Waited 2.0 s")),
        (twice, ([("queued", 2), ("failed", 10), ("queued", 8), ("succeeded", 5)],
                 "Waited 2.0 s, ran 10 s, waited 8.0 s, ran 5.0 s")),
        (by_hand, ([("queued", 1), ("failed", 2), ("", 60), ("queued", 1), ("cancelled", 1)],
                   "Waited 1.0 s, ran 2.0 s, neither 1 min, waited 1.0 s, ran 1.0 s")),
        (steps((WAITED, 0, 4), (What.SNOOZED, 6, 2), why=Why.NOT_KNOWN),
         ([("", 4), ("retrying", 2)], "Neither 4.0 s, ran 2.0 s")),
        (by_odd_clocks, ([("failed", 5), ("failed", 4)], "Ran 5.0 s, ran 4.0 s")),
        (often, ([("queued", 1), ("failed", 2)] * 6, "Waited 6.0 s, ran 12 s, in 12 stretches")),
    )  # fmt: skip


TIMED = some.tuples(some.sampled_from(What), some.floats(0, 1e6), some.none() | some.floats(0, 1e6))


@given(some.lists(TIMED, max_size=30))
def test_draws_no_stretch_of_no_time(known: list[tuple[What, float, float | None]]) -> None:
    over = stretches(steps(*known))

    assert [each for each in over if each.seconds <= 0 or each.look not in LOOKS] == []
    assert sum(each.seconds for each in over) <= 2e6 + 1
    assert told(over)
