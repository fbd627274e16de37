"""Everything that takes part in a move is killed at each of its steps; then it is run again, or aborted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

import psycopg2

from lab.move.stage import CommandFailed, LogicalServer, Pair, Probe, pair
from lab.servers import ask, connect
from lab.waiting import pause, until

# The command, what the step is called, whose statement it is, and words of that statement.
STEPS = [
    ("prepare", "close B", "b", "SET default_transaction_read_only = on"),
    ("prepare", "migrate B", "b", "CREATE SCHEMA IF NOT EXISTS haulier"),
    ("prepare", "publish", "a", "CREATE PUBLICATION"),
    ("prepare", "make the slot", "a", "pg_create_logical_replication_slot"),
    ("prepare", "subscribe", "b", "connect = false"),
    ("prepare", "begin to copy", "b", "REFRESH PUBLICATION"),
    ("switch", "close A", "a", "SET default_transaction_read_only = on"),
    ("switch", "end sessions", "a", "pg_terminate_backend"),
    ("switch", "wait for B", "a", "pg_logical_emit_message"),
    ("switch", "confirm", "a", "RENAME TO"),
    ("switch", "copy sequences", "b", "setval("),
    ("switch", "drop the subscription", "b", "DROP SUBSCRIPTION"),
    ("switch", "open B", "b", "COMMIT;"),
    ("switch", "tidy up", "a", "pg_drop_replication_slot"),
    ("abort", "clean B", "b", "DROP SCHEMA"),
    ("abort", "release A", "a", "DROP PUBLICATION"),
    ("abort", "drop the slot", "a", "pg_drop_replication_slot"),
]
FAULTS = ("mover", "A", "B", "network")
CUT_SECONDS = 1.0
RECOVERY_SECONDS = 90.0


@dataclass(frozen=True)
class Case:
    """A fault at a step. With `is_after` the server has done the step. `then` is what is run next."""

    command: str
    step: str
    side: str
    words: str
    fault: str
    is_after: bool
    then: str

    def __str__(self) -> str:
        return f"{self.command}: {self.step} | {self.fault} {'after' if self.is_after else 'before'} it | {self.then}"


def _cases() -> Iterator[Case]:
    number = 0
    for command, step, side, words in STEPS:
        for fault in FAULTS:
            number += 1
            again = "abort" if command == "abort" or number % 2 else "again"
            yield Case(command, step, side, words, fault, is_after=number % 3 > 0, then=again)


CASES = list(_cases())


@dataclass
class Outcome:
    """How a case has ended: on which side the jobs are, and what is wrong."""

    serves: str
    acknowledged: int
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        said = ", ".join(self.problems) or "0 lost, one writable"
        return f"{self.serves} serves, {self.acknowledged} acknowledged | {said}"


class Writer:
    """INSERTs jobs wherever a session may write, as an application with both hosts in its URL does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.acknowledged: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _write(self) -> None:
        conn = None
        while not self._stopped.wait(0.02):
            try:
                conn = conn or connect(self._url)
                self.acknowledged.append(
                    ask(conn, "INSERT INTO haulier.job (kind, payload) VALUES ('noted', '{}') RETURNING id::text")
                )
            except psycopg2.Error:
                if conn is not None:
                    conn.close()
                conn = None


def outcome_of(case: Case, a: LogicalServer, b: LogicalServer, name: str) -> Outcome:
    """Run one case in new databases."""
    with pair(a, b, name) as both:
        with Probe({"a": both.a_url, "b": both.b_url}) as probe, Writer(both.both) as writer:
            until(lambda: len(writer.acknowledged) > 5, within=30, what="A takes jobs")
            if case.command != "prepare":
                both.run("prepare")
                both.until_ready()
            _break(case, both)
            moved = _recover(case, both)
            seen = len(writer.acknowledged)
            until(lambda: len(writer.acknowledged) > seen + 5, within=30, what="jobs are taken again")
        return _judge(both, writer.acknowledged, probe, moved=moved)


def _break(case: Case, both: Pair) -> None:
    proxy = both.mover_a if case.side == "a" else both.mover_b
    mover = both.start(case.command)

    def act() -> None:
        if case.fault == "mover":
            mover.kill()
        elif case.fault == "network":
            # The message itself is lost with the connection.
            for each in (both.mover_a, both.mover_b, both.between):
                each.go_away()
        else:
            server = both.a if case.fault == "A" else both.b
            server.stop_immediately()
            server.start_again()

    proxy.trip(case.words, act, after=case.is_after)
    mover.communicate(timeout=120)
    assert proxy.has_tripped.wait(30), f"{case}: no such step"
    if case.fault == "network":
        pause(CUT_SECONDS)
        for each in (both.mover_a, both.mover_b, both.between):
            each.come_back()


def _recover(case: Case, both: Pair) -> bool:
    """Run the command again, or abort, until it works; return whether the cell has moved."""
    if case.then == "abort":
        with suppress(MovedAlready):
            _until_done(both, "abort")
            return False
        _until_done(both, "switch")
        return True
    if case.command == "prepare":
        _until_done(both, "prepare")
        both.until_ready(within=RECOVERY_SECONDS)
    _until_done(both, "switch")
    return True


class MovedAlready(RuntimeError):
    """It is too late to abort."""


def _until_done(both: Pair, command: str) -> None:
    failures: list[str] = []

    def is_done() -> bool:
        try:
            both.run(command)
        except CommandFailed as error:
            if "the cell has been moved" in str(error):
                raise MovedAlready from error
            failures.append(str(error))
            return False
        return True

    try:
        until(is_done, within=RECOVERY_SECONDS, what=command, every=0.5)
    except RuntimeError as error:
        if isinstance(error, MovedAlready):
            raise
        raise RuntimeError(f"{command}: {failures[-1]}") from error


def _judge(both: Pair, acknowledged: list[str], probe: Probe, *, moved: bool) -> Outcome:
    outcome = Outcome("B" if moved else "A", len(acknowledged))
    with closing(connect(both.b_url if moved else both.a_url)) as conn:
        there = set(ask(conn, "SELECT array_agg(id::text) FROM haulier.job"))
    if lost := set(acknowledged) - there:
        outcome.problems.append(f"{len(lost)} lost")
    if probe.both_wrote():
        outcome.problems.append("both writable")
    if not moved and probe.writes["b"]:
        outcome.problems.append("B was writable")
    for server in (both.a, both.b):
        with closing(connect(server.dsn)) as conn:
            if ask(conn, "SELECT count(*) FROM pg_replication_slots"):
                outcome.problems.append("a slot is left")
            if ask(conn, "SELECT count(*) FROM pg_subscription"):
                outcome.problems.append("a subscription is left")
    with closing(connect(both.b_url)) as conn:
        if not moved and ask(conn, "SELECT to_regnamespace('haulier')") is not None:
            outcome.problems.append("B was not cleaned up")
    return outcome
