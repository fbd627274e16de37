"""Schedules, whatever is done to them in whatever order, beside a model in plain Python: each tick has the outcome that
the rule says, once, and each that fired one job. It ...

The clock is the model's own, in whole seconds; a run by hand comes half a second later. The clock may be set back. The
database may refuse the jobs of a schedule: those of `a` at once, those of `b` when their transaction commits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from haulier.domain.errors import ScheduleBusy
from haulier.domain.schedules.schedule import Missed, Overlap, Rule
from haulier.postgres.connection import connect
from haulier.postgres.errors import PostgresError
from haulier.postgres.statements import transaction
from haulier.queue import jobs as job_acts
from haulier.queue.schedules import schedules
from haulier.queue.schedules.fire import Fired, fire_due
from tests.conftest import Sql, sql_on
from tests.model import EXAMPLES, FEW, SEED
from tests.queue.schedules.schedules import set_time

START = datetime(2030, 1, 1, tzinfo=UTC)
LATE, LOOK, LOOK_AT_PENDING = 60, 3600, 1
FIRED, MISSED, PASSED, OVERLAPPED = "fired", "skipped_missed", "skipped_paused", "skipped_overlap"
REFUSED = "skipped_refused"
# So many ticks are decided at once at most.
MOST_TICKS = 1000
REFUSE = """
    CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.schedule = ANY(string_to_array(current_setting('model.refused', true), ',')) THEN
            RAISE 'refused' USING ERRCODE = 'MY001';
        END IF;
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER refuse_a BEFORE INSERT ON haulier.job
        FOR EACH ROW WHEN (NEW.schedule = 'a') EXECUTE FUNCTION public.refuse();
    CREATE CONSTRAINT TRIGGER refuse_b AFTER INSERT ON haulier.job DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.schedule = 'b') EXECUTE FUNCTION public.refuse()
"""
NAMES = st.sampled_from(["a", "b"])
MOST, WITHIN = 3, 150
SECONDS = st.sampled_from([1, 3, 10, 35, 61, 130, 400])
RULES = st.builds(
    Rule,
    st.just({"kind": "mail", "payload": {}}),
    every_seconds=st.sampled_from([10, 25, 60]),
    overlap=st.sampled_from(Overlap),
    missed=st.sampled_from([Missed.SKIP, Missed.LAST]),
) | st.builds(
    Rule,
    st.just({"kind": "mail", "payload": {}}),
    every_seconds=st.sampled_from([10, 60]),
    overlap=st.sampled_from(Overlap),
    missed=st.just(Missed.ALL),
    missed_max=st.just(MOST),
    missed_within_seconds=st.just(WITHIN),
)


@dataclass
class Modelled:
    """A schedule, as far as it has come. Units: times are seconds of the model's clock."""

    id: int
    rule: Rule
    counts_from: float
    decided_to: float
    look_at: float
    pending: float | None = None
    paused: tuple[float, float] | None = None
    live: list[float] = field(default_factory=list)
    refused_since: float | None = None
    refusals: int = 0

    @property
    def every(self) -> int:
        assert self.rule.every_seconds is not None
        return self.rule.every_seconds

    def is_paused(self, at: float) -> bool:
        return self.paused is not None and self.paused[0] <= at < self.paused[1]

    def next_tick(self, after: float) -> float:
        return self.counts_from + (max(0, (after - self.counts_from) // self.every + 1) or 1) * self.every

    def due(self, now: float) -> list[float]:
        """Return the ticks that are due and not decided."""
        found = [self.next_tick(self.decided_to)]
        while found[-1] <= now:
            found.append(self.next_tick(found[-1]))
        return found[:-1]

    def decide(self, now: float) -> dict[float, str]:
        """Return the outcome of each tick that is decided now."""
        outcomes: dict[float, str] = {}

        def decided(at: float, outcome: str) -> None:
            outcomes[at] = outcome
            if outcome == FIRED:
                self.live.append(at)

        if self.pending is not None and (not self.live or self.is_paused(now)):
            decided(self.pending, PASSED if self.is_paused(now) else FIRED)
            self.pending = None
        due = self.due(now)
        fires_late = self._fires_late(due, now)
        for at in due:
            if self.is_paused(at) or self.is_paused(now):
                decided(at, PASSED)
            elif now - at > LATE and at not in fires_late:
                in_time = self.refused_since is not None and self.refused_since - at <= LATE
                decided(at, REFUSED if in_time else MISSED)
            elif self.rule.overlap is Overlap.ALLOW or not (self.live or self.pending is not None):
                decided(at, FIRED)
            elif self.rule.overlap is Overlap.QUEUE_ONE and self.pending is None:
                self.pending = at
            else:
                decided(at, OVERLAPPED)
        self.decided_to = due[-1] if due else self.decided_to
        latest = now + (LOOK if self.pending is None else LOOK_AT_PENDING)
        self.look_at = min(self.next_tick(max(self.decided_to, now)), latest)
        return outcomes

    def _fires_late(self, due: list[float], now: float) -> set[float]:
        if self.rule.missed is Missed.LAST:
            return set(due[-1:])
        if self.rule.missed is Missed.SKIP or self.is_paused(now):
            return set()
        missed = [at for at in due if now - at > LATE and not self.is_paused(at)]
        return {at for at in missed[-MOST:] if at >= now - WITHIN}

    def put_off(self, now: float) -> None:
        """The database has refused what it was to enqueue."""
        self.look_at = now + (min(300, 60 * self.refusals) or 5)
        self.refusals += 1
        self.refused_since = now if self.refused_since is None else self.refused_since

    def accept(self) -> None:
        """The database refuses nothing of it any more."""
        self.refusals, self.refused_since = 0, None

    def change(self, rule: Rule, now: float) -> None:
        """Do this from now on; what is due has been decided."""
        if rule.every_seconds != self.every:
            every = rule.every_seconds or 0
            last = self.counts_from + max(0, (now - self.counts_from) // self.every) * self.every
            self.counts_from = last if last + every > now else now + 1 - every
        self.rule, self.decided_to, self.look_at = rule, max(now, self.decided_to), now


class Schedules(RuleBasedStateMachine):
    """The service, a worker that fires, and operators."""

    def __init__(self, sql: Sql, conn: Any) -> None:
        super().__init__()
        self.sql, self.conn, self.now = sql, conn, 0.0
        self.known: dict[str, Modelled] = {}
        # What has become of each tick, also of those of schedules that are gone; and the jobs of those.
        self.ticks: dict[tuple[int, float], str] = {}
        self.left: list[tuple[str, float]] = []
        self.refused: set[str] = set()
        sql("DELETE FROM haulier.schedule; DELETE FROM haulier.tick; DELETE FROM haulier.job")
        sql("SELECT set_config('model.refused', '', false)")
        self.pass_time(0)

    @initialize(first=RULES, second=RULES)
    def start(self, first: Rule, second: Rule) -> None:
        self.put("a", first)
        self.put("b", second)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        assume(all(len(schedule.due(self.now + seconds)) <= MOST_TICKS for schedule in self.known.values()))
        self.now += seconds
        self.sql("SELECT set_config('model.now', %s, false)", (START + timedelta(seconds=self.now)).isoformat())

    @rule(seconds=SECONDS)
    def set_the_clock_back(self, seconds: float) -> None:
        self.pass_time(-seconds)

    @rule(name=NAMES)
    def refuse_or_accept(self, name: str) -> None:
        self.refused ^= {name}
        self.sql("SELECT set_config('model.refused', %s, false)", ",".join(self.refused))

    @rule(name=NAMES, wanted=RULES)
    def put(self, name: str, wanted: Rule) -> None:
        is_new = schedules.put_schedule(self.conn, name, wanted, retention_days=30)

        assert is_new == (name not in self.known)
        if is_new:
            [(id_,)] = self.sql("SELECT id FROM haulier.schedule WHERE name = %s", name)
            live = [at for other, at in self.left if other == name]
            self.left = [each for each in self.left if each[0] != name]
            self.known[name] = Modelled(id_, wanted, self.now, self.now, self.now, live=live)
        elif wanted != self.known[name].rule:
            self._decide_before_a_change(name)
            self.known[name].change(wanted, self.now)

    @rule()
    def fire(self) -> None:
        while self._fire_due().decided:
            pass

        for name, schedule in self.known.items():
            if schedule.look_at <= self.now:
                self._decide(name)

    @rule(seconds=SECONDS)
    def fire_later(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.fire()

    @rule()
    def fire_and_die(self) -> None:
        with suppress(InterruptedError, PostgresError), transaction(self.conn):
            fire_due(self.conn, retention_days=30)
            raise InterruptedError

    @rule(name=NAMES, seconds=st.sampled_from([None, 5, 90]))
    def pause(self, name: str, seconds: float | None) -> None:
        if (schedule := self.known.get(name)) is None:
            return
        until = float("inf") if seconds is None else self.now + seconds
        end = None if seconds is None else START + timedelta(seconds=until)

        schedules.pause_schedule(self.conn, name, until=end)

        since, ends = schedule.paused or (self.now, self.now)
        if schedule.paused is None or ends <= self.now or ends != until:
            goes_on = schedule.paused is not None and ends > schedule.decided_to
            schedule.paused = (since if goes_on else self.now, until)

    @rule(name=NAMES)
    def resume(self, name: str) -> None:
        if (schedule := self.known.get(name)) is None:
            return
        schedules.resume_schedule(self.conn, name)

        if schedule.paused is not None and schedule.paused[1] > self.now:
            schedule.paused = (schedule.paused[0], self.now)

    @rule(name=NAMES)
    def run_by_hand(self, name: str) -> None:
        if (schedule := self.known.get(name)) is None:
            return
        # Only a clock that was set back comes to the same microsecond again.
        assume((schedule.id, self.now + 0.5) not in self.ticks)
        self.pass_time(0.5)
        if schedule.live and schedule.rule.overlap is not Overlap.ALLOW:
            with pytest.raises(ScheduleBusy):
                schedules.run_schedule(self.conn, name)
        elif name in self.refused:
            with pytest.raises(PostgresError):
                schedules.run_schedule(self.conn, name)
        else:
            schedules.run_schedule(self.conn, name)
            self.ticks[schedule.id, self.now] = FIRED
            schedule.live.append(self.now)
            if schedule.refusals:
                schedule.look_at = min(schedule.look_at, self.now)
                schedule.accept()
        self.pass_time(0.5)

    @rule(name=NAMES, newest=st.booleans())
    def end_a_job(self, name: str, newest: bool) -> None:
        order = "DESC" if newest else "ASC"
        found = self.sql(f"SELECT id FROM haulier.job WHERE schedule = %s ORDER BY scheduled_for {order} LIMIT 1", name)
        live = self.known[name].live if name in self.known else [at for other, at in self.left if other == name]
        assert bool(found) == bool(live)
        if found:
            job_acts.cancel(self.conn, found[0][0])
            at = max(live) if newest else min(live)
            (live if name in self.known else self.left).remove(at if name in self.known else (name, at))  # type: ignore[arg-type]

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.known:
            schedules.delete_schedule(self.conn, name)
            self.left += [(name, at) for at in self.known.pop(name).live]

    # Both would rarely come about by single steps.
    @rule(name=NAMES, seconds=SECONDS)
    def refuse_for_a_while(self, name: str, seconds: float) -> None:
        self.refuse_or_accept(name)
        self.fire_later(seconds)
        self.refuse_or_accept(name)
        self.fire_later(seconds)

    @rule(name=NAMES, seconds=SECONDS, wanted=RULES)
    def make_again_on_a_clock_set_back(self, name: str, seconds: float, wanted: Rule) -> None:
        self.fire_later(seconds)
        self.set_the_clock_back(seconds)
        self.delete(name)
        self.put(name, wanted)
        self.fire_later(seconds)

    def _fire_due(self) -> Fired:
        try:
            return fire_due(self.conn, retention_days=30)
        except PostgresError:
            return fire_due(self.conn, retention_days=30, apart=1)

    def _decide(self, name: str) -> None:
        tried = deepcopy(self.known[name])
        outcomes = tried.decide(self.now)
        if name in self.refused and FIRED in outcomes.values():
            self.known[name].put_off(self.now)
            return
        tried.accept()
        self.known[name] = tried
        self._note(tried, outcomes)

    def _decide_before_a_change(self, name: str) -> None:
        schedule = self.known[name]
        before = list(schedule.live)
        outcomes = schedule.decide(self.now)
        if name in self.refused:
            schedule.live = before
            outcomes = {at: REFUSED if outcome == FIRED else outcome for at, outcome in outcomes.items()}
        schedule.accept()
        self._note(schedule, outcomes)

    def _note(self, schedule: Modelled, outcomes: dict[float, str]) -> None:
        for at, outcome in outcomes.items():
            assert (schedule.id, at) not in self.ticks, "the model decides a tick twice"
            self.ticks[schedule.id, at] = outcome

    @invariant()
    def each_tick_is_as_the_model_has_it(self) -> None:
        def since(at: datetime) -> float:
            return (at - START).total_seconds()

        found = self.sql("SELECT schedule_id, scheduled_at, outcome FROM haulier.tick")
        assert {(id_, since(at)): outcome for id_, at, outcome in found} == self.ticks
        jobs = [(name, since(at)) for name, at in self.sql("SELECT schedule, scheduled_for FROM haulier.job")]
        live = self.left + [(name, at) for name, schedule in self.known.items() for at in schedule.live]
        assert sorted(jobs) == sorted(live)
        states = self.sql("SELECT name, pending_at, refusals, refused_since, look_at FROM haulier.schedule")
        assert {
            name: (pending and since(pending), refusals, refused and since(refused), refusals and since(look))
            for name, pending, refusals, refused, look in states
        } == {
            name: (schedule.pending, schedule.refusals, schedule.refused_since, schedule.refusals and schedule.look_at)
            for name, schedule in self.known.items()
        }

    @invariant()
    def each_tick_that_fired_enqueued_one_job(self) -> None:
        [(fired, jobs)] = self.sql(
            "SELECT count(*), count(DISTINCT jobs.id) FROM haulier.tick"
            " LEFT JOIN haulier.jobs ON jobs.id = job_id AND jobs.schedule = tick.schedule"
            " AND jobs.scheduled_for = scheduled_at WHERE outcome = 'fired'"
        )
        assert fired == jobs


@pytest.fixture
def machine(migrated_database: str) -> Iterator[Any]:
    """Give a function that makes a machine on a database whose schedules go by the model's clock."""
    with closing(connect(migrated_database)) as conn:
        sql = sql_on(conn)
        set_time(sql, "current_setting('model.now')::timestamptz")
        sql(REFUSE)
        yield lambda: Schedules(sql, conn)


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize(
    "examples", [pytest.param(2 * FEW, id="few"), pytest.param(EXAMPLES, id="many", marks=pytest.mark.slow)]
)
def test_gives_each_tick_the_outcome_of_its_rule_once(machine: Any, examples: int) -> None:
    run_state_machine_as_test(
        seed(SEED)(machine), settings=settings(settings.get_profile("model"), max_examples=examples)
    )
