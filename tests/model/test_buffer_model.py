"""The worker's buffer, whatever its threads do in whatever order, one at a time: it ..."""

from __future__ import annotations

from typing import Any

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from haulier.config import Config
from haulier.domain.job import Job
from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import JobContext
from haulier.worker.link.sleeper import Bell
from haulier.worker.supply.buffer import Buffer, Ended, RoundTrip
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import MOST_AT_ONCE, CallSize, ClaimSize
from tests.model import EXAMPLES, SEED
from tests.model.choosing import has, one_of
from tests.worker.jobs import a_job

CONFIG = Config("postgres://db.example.com/haulier")
THREADS = 4
KINDS = {"quick": 0.0001, "mail": 0.005, "slow": 3.0}


class Hold(RuleBasedStateMachine):
    """A process: where each claimed job is, as whoever has the place, the settler and the watch leave it."""

    def __init__(self) -> None:
        super().__init__()
        shutdown = Shutdown()
        self.stopping, self.closing = shutdown.stopping, shutdown.closing
        self.buffer = Buffer(ClaimSize(THREADS), CallSize(), Bell(), shutdown)
        # Somebody has the place; what it was told there is to claim for, and what it has in hand to settle.
        self.has_place = False
        self.round_trip: RoundTrip | None = None
        self.hand: list[tuple[HeldJob, Verb]] = []
        self.ready: list[HeldJob] = []
        self.running: list[HeldJob] = []
        # Each of these is settled once: in the order in which it ended.
        self.ended: list[tuple[HeldJob, Verb]] = []
        self.doubtful: list[tuple[HeldJob, Verb]] = []
        # What the settler settles beside whoever has the place.
        self.beside: list[Ended] = []
        self.settled: list[HeldJob] = []
        # Threads that the settler has settled for: they are never done.
        self.stuck = 0

    def would_wait(self) -> bool:
        """Return whether a thread that asks for its next job would wait for what another brings."""
        if self.ready or (self.stopping.is_set() and (self.closing.is_set() or not self.ended)):
            return False
        return self.has_place or (self.stopping.is_set() and bool(self.beside))

    # Runners

    @has(lambda self: len(self.running) < THREADS and not self.would_wait())
    @rule()
    def ask(self) -> None:
        self._took(self.buffer.next())

    @has(lambda self: self.running and (self.ready or not self.has_place) and not self.stopping.is_set())
    @rule(running=one_of(lambda self: self.running))
    def end(self, running: HeldJob) -> None:
        self.running.remove(running)
        self.ended.append((running, Verb.COMPLETE))
        seconds = KINDS[running.job.kind]
        self._took(self.buffer.next(Ended(running, Outcome.complete()), seconds=seconds))

    def _took(self, turn: HeldJob | RoundTrip | None) -> None:
        if isinstance(turn, RoundTrip):
            assert not self.has_place, "two threads have the place"
            self.has_place = True
            self._take_in_hand(turn)
        elif turn is None:
            assert self.stopping.is_set()
            assert not self.ready
            assert self.closing.is_set() or not self.ended
        else:
            assert turn is self.ready.pop(0), "started out of order, twice, or after it was given back"
            self.running.append(turn)

    # Whoever has the place

    def _take_in_hand(self, round_trip: RoundTrip) -> None:
        if round_trip.ended:
            assert not self.beside, "two settle at the same time"
            assert [(each.running, each.outcome.verb) for each in round_trip.ended] == self.ended[:MOST_AT_ONCE]
        elif self.ended and not self.beside:
            self.begin_beside()
            assert self.beside, "nobody settles"
        assert 1 <= round_trip.free <= THREADS
        assert 0 <= round_trip.limit <= MOST_AT_ONCE
        assert round_trip.limit or self.ready, "nothing to start, and nothing is claimed"
        self.round_trip = round_trip
        self.hand, self.ended = self.ended[: len(round_trip.ended)], self.ended[len(round_trip.ended) :]

    @has(lambda self: self.has_place and not self.hand)
    @rule()
    def look_again(self) -> None:
        self._take_in_hand(self.buffer.round_trip())

    @has(lambda self: self.hand)
    @rule(becomes=st.sampled_from(["settled", "settled", "unsure", "doubtful"]))
    def settle(self, becomes: str) -> None:
        hand, self.hand = self.hand, []
        if becomes == "unsure":
            self.buffer.put_back(self.round_trip.ended)
            self.ended[:0] = hand
        elif becomes == "doubtful":
            self.buffer.doubt(self.round_trip.ended)
            self.doubtful += hand
        else:
            self.settled += [running for running, _ in hand]

    @has(lambda self: self.round_trip and not self.hand)
    @rule(
        kinds=st.lists(st.sampled_from(sorted(KINDS)), max_size=20),
        lasts=st.integers(0, 3),
        is_short=st.booleans(),
    )
    def claim(self, kinds: list[str], lasts: int, is_short: bool) -> None:
        """Take up what was claimed; the others have started and ended jobs meanwhile, and the process may stop."""
        limit, free = self.round_trip.limit, self.round_trip.free
        self.round_trip = None
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
    def _a_run(kind: str, *, is_last: bool) -> HeldJob:
        job: Job = a_job(kind)._replace(attempts=3 if is_last else 1)
        return HeldJob(job, JobContext(job, CONFIG), None)

    @has(lambda self: self.has_place and not self.hand)
    @rule(leaving=st.booleans())
    def give_the_place_back(self, leaving: bool) -> None:
        self.buffer.done(leaving=leaving)
        self.has_place, self.round_trip = False, None

    # The settler, and the watch

    @rule()
    def take_the_place(self) -> None:
        assert self.buffer.take_place() is not self.has_place
        self.has_place = True

    @has(lambda self: self.running)
    @rule(running=one_of(lambda self: self.running))
    def settle_for_a_stuck_thread(self, running: HeldJob) -> None:
        self.buffer.add(Ended(running, Outcome.release()))
        self.ended.append((running, Verb.RELEASE))
        self.running.remove(running)
        self.stuck += 1

    @has(lambda self: not self.beside)
    @rule()
    def begin_beside(self) -> None:
        """Settle beside whoever has the place, if many quick jobs wait."""
        self.beside = self.buffer.begin_beside()
        taken = [(each.running, each.outcome.verb) for each in self.beside]
        assert taken == self.ended[: len(taken)]
        self.ended = self.ended[len(taken) :]

    @has(lambda self: self.beside)
    @rule(is_unsure=st.booleans())
    def end_beside(self, is_unsure: bool) -> None:
        batch, self.beside = self.beside, []
        if is_unsure:
            self.buffer.put_back(batch)
            self.ended[:0] = [(each.running, each.outcome.verb) for each in batch]
        else:
            self.settled += [each.running for each in batch]
        self.buffer.end_beside()

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
        while self.hand or self.ended or self.beside:
            if self.hand:
                self.settle("settled")
            elif self.beside:
                self.end_beside(is_unsure=False)
            else:
                self._take_in_hand(self.buffer.round_trip())
        self.see_to_the_doubtful()
        seen: list[Any] = [*map(id, self.settled), *map(id, self.running)]
        assert len(set(seen)) == len(seen)
        assert not self.buffer.has_any()


def test_hands_out_each_job_once_and_each_outcome_once(monkeypatch) -> None:
    # As many quick jobs as a short run of the model has.
    monkeypatch.setattr("haulier.worker.supply.buffer.BESIDE", 5)
    machine = seed(SEED)(lambda: Hold())

    run_state_machine_as_test(machine, settings=settings(settings.get_profile("model"), max_examples=2 * EXAMPLES))
