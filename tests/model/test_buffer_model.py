"""The worker's buffer, whatever its threads do in whatever order, one at a time: it ..."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from haulier.config import Config
from haulier.domain.job import Job
from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import JobContext
from haulier.worker.buffer import Buffer, Ended, Place, Turn
from haulier.worker.holdings import Running
from haulier.worker.lookout import Lookout
from haulier.worker.pace import MOST_AT_ONCE, Pace
from tests.model import EXAMPLES, SEED
from tests.model.choosing import has, one_of
from tests.worker.test_pace import a_job

CONFIG = Config("postgres://db.example.com/haulier")
THREADS = 4
KINDS = {"quick": 0.0001, "mail": 0.005, "slow": 3.0}


class Hold(RuleBasedStateMachine):
    """A process: where each claimed job is, as whoever has the place, the clerk and the watch leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping, self.closing = threading.Event(), threading.Event()
        self.buffer = Buffer(Pace(THREADS), Lookout(), self.stopping, self.closing)
        # Somebody has the place; what it was told there is to claim for, and what it has in hand to settle.
        self.has_place = False
        self.place: Place | None = None
        self.hand: list[tuple[Running, Verb]] = []
        self.ready: list[Running] = []
        self.running: list[Running] = []
        # Each of these is settled once: in the order in which it ended.
        self.ended: list[tuple[Running, Verb]] = []
        self.doubtful: list[tuple[Running, Verb]] = []
        self.settled: list[Running] = []
        # Threads that the clerk has settled for: they are never done.
        self.stuck = 0

    def would_wait(self) -> bool:
        """Tell whether a thread that asks for its next job would wait for what another brings."""
        if self.ready or (self.stopping.is_set() and (self.closing.is_set() or not self.ended)):
            return False
        return self.has_place

    # Runners

    @has(lambda self: len(self.running) < THREADS and not self.would_wait())
    @rule()
    def ask(self) -> None:
        self._took(self.buffer.next())

    @has(lambda self: self.running and (self.ready or not self.has_place) and not self.stopping.is_set())
    @rule(running=one_of(lambda self: self.running))
    def end(self, running: Running) -> None:
        self.running.remove(running)
        self.ended.append((running, Verb.COMPLETE))
        seconds = KINDS[running.job.kind]
        self._took(self.buffer.next(Ended(running, Outcome.complete()), seconds=seconds))

    def _took(self, turn: Running | Place | Turn) -> None:
        if isinstance(turn, Place):
            assert not self.has_place, "two threads have the place"
            self.has_place = True
            self._take_in_hand(turn)
        elif turn is Turn.LEAVE:
            assert self.stopping.is_set()
            assert not self.ready
            assert self.closing.is_set() or not self.ended
        else:
            assert turn is self.ready.pop(0), "started out of order, twice, or after it was given back"
            self.running.append(turn)

    # Whoever has the place

    def _take_in_hand(self, place: Place) -> None:
        assert [(each.running, each.outcome.verb) for each in place.ended] == self.ended[:MOST_AT_ONCE]
        assert 1 <= place.free <= THREADS
        assert 0 <= place.limit <= MOST_AT_ONCE
        assert place.limit or self.ready, "nothing to start, and nothing is claimed"
        self.place = place
        self.hand, self.ended = self.ended[: len(place.ended)], self.ended[len(place.ended) :]

    @has(lambda self: self.has_place and not self.hand)
    @rule()
    def look_again(self) -> None:
        self._take_in_hand(self.buffer.place())

    @has(lambda self: self.hand)
    @rule(becomes=st.sampled_from(["settled", "settled", "unsure", "doubtful"]))
    def settle(self, becomes: str) -> None:
        hand, self.hand = self.hand, []
        if becomes == "unsure":
            self.buffer.put_back(self.place.ended)
            self.ended[:0] = hand
        elif becomes == "doubtful":
            self.buffer.doubt(self.place.ended)
            self.doubtful += hand
        else:
            self.settled += [running for running, _ in hand]

    @has(lambda self: self.place and not self.hand)
    @rule(
        kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=20),
        lasts=st.integers(0, 3),
        is_short=st.booleans(),
    )
    def claim(self, kinds: list[str], lasts: int, is_short: bool) -> None:
        """Take up what was claimed; the others have started and ended jobs meanwhile, and the process may stop."""
        limit, free = self.place.limit, self.place.free
        self.place = None
        claimed = [self._a_run(kind, is_last=place < min(lasts, free)) for place, kind in enumerate(kinds[:limit])]

        surplus = self.buffer.fill(claimed, free=free, is_short=is_short)

        kept, given_back = claimed[: len(claimed) - surplus], claimed[len(claimed) - surplus :]
        if self.stopping.is_set():
            assert not kept, "kept what nobody will start"
        else:
            assert len(kept) >= min(free, len(claimed)), "given back what a free thread would start"
        assert all(running.has_ended for running in given_back)
        self.ended += [(running, Verb.RELEASE) for running in given_back]
        # Those on their last attempt first: they must not wait for another that takes the process with it.
        self.ready = [
            *reversed([running for running in kept if running.job.is_last_attempt]),
            *self.ready,
            *[running for running in kept if not running.job.is_last_attempt],
        ]

    @staticmethod
    def _a_run(kind: str, *, is_last: bool) -> Running:
        job: Job = a_job(kind)._replace(attempts=3 if is_last else 1)
        return Running(job, JobContext(job, CONFIG), None)

    @has(lambda self: self.has_place and not self.hand)
    @rule(leaving=st.booleans())
    def give_the_place_back(self, leaving: bool) -> None:
        self.buffer.done(leaving=leaving)
        self.has_place, self.place = False, None

    # The clerk, and the watch

    @rule()
    def take_the_place(self) -> None:
        assert self.buffer.take_place() is not self.has_place
        self.has_place = True

    @has(lambda self: self.running)
    @rule(running=one_of(lambda self: self.running))
    def settle_for_a_stuck_thread(self, running: Running) -> None:
        self.buffer.add(Ended(running, Outcome.release()))
        self.ended.append((running, Verb.RELEASE))
        self.running.remove(running)
        self.stuck += 1

    @rule()
    def see_to_the_doubtful(self) -> None:
        batch = self.buffer.collect_doubtful()
        assert [(each.running, each.outcome.verb) for each in batch] == self.doubtful
        self.settled += [running for running, _ in self.doubtful]
        self.doubtful = []

    @rule()
    def empty(self) -> None:
        """Give back what has not started, as when a job turns out slow."""
        assert self.buffer.empty() == self.ready
        self.ended += [(running, Verb.RELEASE) for running in self.ready]
        self.ready = []

    @rule(closes=st.booleans())
    def stop(self, closes: bool) -> None:
        self.stopping.set()
        if closes:
            self.closing.set()

    # What must be true after each step

    @invariant()
    def tells_what_it_has(self) -> None:
        assert self.buffer.is_empty() == (not self.ready)
        assert self.buffer.has_any() == bool(self.ready or self.ended or self.doubtful)
        assert self.buffer.running == len(self.running) + self.stuck
        if self.ready or self.ended:
            assert self.buffer.stirred.is_set(), "nobody would look after what waits"

    def teardown(self) -> None:
        """Settle whatever is left: each job comes out once."""
        self.empty()
        while self.hand or self.ended:
            if self.hand:
                self.settle("settled")
            else:
                self._take_in_hand(self.buffer.place())
        self.see_to_the_doubtful()
        seen: list[Any] = [*map(id, self.settled), *map(id, self.running)]
        assert len(set(seen)) == len(seen)
        assert not self.buffer.has_any()


def test_hands_out_each_job_once_and_each_outcome_once() -> None:
    machine = seed(SEED)(lambda: Hold())

    run_state_machine_as_test(machine, settings=settings(settings.get_profile("model"), max_examples=2 * EXAMPLES))
