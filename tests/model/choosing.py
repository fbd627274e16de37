"""What the machine may choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from haulier.domain.job import Json, NewJob
from haulier.domain.outcome import Outcome
from tests.model.ledger import UNIT

Choices = Callable[[Any], Sequence[Any]]
QUEUES = ("bulk", "default")


@dataclass(frozen=True)
class Ending:
    """How a run ends, and the result that is then to be stored."""

    outcome: Outcome
    result: Json = None


def _fails(delay: float) -> Ending:
    return Ending(Outcome.fail("no luck", delay, backoff=delay + 1))


# Each is over, without a doubt, when so many units and one more have passed. Units: seconds.
whiles = st.integers(0, 2).map(lambda units: (units + 0.5) * UNIT.total_seconds())
endings = st.one_of(
    # As the end of the process of an isolated kind is told.
    whiles.map(lambda delay: Ending(Outcome.fail("the process that ran this job was killed by SIGKILL", delay))),
    st.sampled_from([Ending(Outcome.complete()), Ending(Outcome.complete({"pages": 3}), {"pages": 3})]),
    whiles.map(_fails),
    st.just(_fails(0.0)),
    st.sampled_from([Ending(Outcome.fail("timed out after 1 s", 0.0)), Ending(Outcome.fail_for_good("no address"))]),
    whiles.map(lambda delay: Ending(Outcome.snooze(delay))),
    whiles.map(lambda delay: Ending(Outcome.release(delay))),
    whiles.map(lambda delay: Ending(Outcome.release(delay, why="no worker that claimed it knows the kind"))),
    st.sampled_from([Ending(Outcome.release()), Ending(Outcome.give_back())]),
)
unkeyed = st.builds(
    NewJob,
    kind=st.just("mail"),
    payload=st.just({}),
    queue=st.sampled_from(QUEUES),
    priority=st.sampled_from([0, 0, 1]),
    max_attempts=st.integers(1, 3),
    delay=st.one_of(st.none(), st.none(), whiles.map(lambda delay: timedelta(seconds=delay))),
)
# Few, so that the same ones come again, with another request or the same.
keyed = st.builds(
    NewJob,
    kind=st.just("mail"),
    payload=st.sampled_from([{}, {"to": "a@b.c"}]),
    idempotency_key=st.sampled_from(["order-1", "order-2", "order-3"]),
)
requests = st.lists(unkeyed | unkeyed | keyed, min_size=1, max_size=7)
many_requests = st.lists(unkeyed, min_size=4, max_size=8)
limits, threads = st.integers(1, 4), st.sampled_from([6, 6, 1, 0])
# As many as there may be claims to settle.
fives = st.lists(endings, min_size=5, max_size=5)


def one_of(choices: Choices) -> st.SearchStrategy[Any]:
    """Return a strategy that takes one of what the machine then has; the rule needs it to have any."""
    return st.runner().flatmap(lambda queue: st.sampled_from(choices(queue)))


def some_of(choices: Choices, *, most: int = 5) -> st.SearchStrategy[list[Any]]:
    """Return a strategy that takes some of what the machine then has, each once."""

    def some(queue: Any) -> st.SearchStrategy[list[Any]]:
        found = choices(queue)
        return st.lists(st.sampled_from(found), max_size=most, unique_by=id) if found else st.just([])

    return st.runner().flatmap(some)


def has(choices: Choices) -> Callable[[Any], Any]:
    """Let the rule be run only when the machine has any of these."""
    return precondition(lambda queue: bool(choices(queue)))
