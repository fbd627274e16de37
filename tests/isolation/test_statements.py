"""Every statement that a worker sends, refused for all rows, with each class of error. It ..."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.conftest import eventually
from tests.isolation import statements
from tests.isolation.conftest import ERRORS, IS_LONG, named, unhurt, until
from tests.isolation.scene import Scene
from tests.isolation.wire import REFUSALS
from tests.worker.waiting import AT_ONCE

# What is prepared and who listens is part of what is refused.
pytestmark = pytest.mark.direct("a pool is in the way of what connections keep")

# How long the refusal lasts from its first time on.
LASTS_SECONDS = 1.5
LEASE_SECONDS = 1
# Of what the process says while a hundred jobs cannot be claimed or settled, all of them named once.
MOST_COMPLAINTS = 150
# Without these there is no beat.
BEAT_NEEDS = {"bounded", "register", "beat", "listen"}
# Always in the short form, each with one error; and a few of the others. Most of it takes `make test-slow`.
AFTER_A_LOST_REPLY = ("settled_earlier", "held")
AT_THE_END = ("deregister", "leave_counting")
HOT = (
    "lanes", "claim", "settle_completed", "commit", "cancelled", "introduce", "write_progress", "strays", "bury",
    "orphans", "prepare",
)  # fmt: skip
SEED, OTHERS = 10, 4
OFTEN, OFTEN_OTHERS = {"claim", "settle_completed", "commit", "bury", "prepare"}, 1


def cases() -> list[Any]:
    """Return everything, or what is drawn for the short form: parameters."""
    names = statements.refusable()
    chance = random.Random(SEED)
    if IS_LONG:
        most = min(ERRORS, len(REFUSALS))
        return [(name, refusal) for name in names for refusal in chance.sample(REFUSALS, most)]
    others = chance.sample([name for name in names if name not in HOT], OTHERS)
    often = OFTEN | set(others[:OFTEN_OTHERS])
    return [
        pytest.param(name, chance.choice(REFUSALS), marks=() if name in often else (pytest.mark.slow,))
        for name in (*HOT, *others)
    ]


def test_the_scene_brings_about_every_statement_that_can_be_made_to_fail(worker, wire, conn):
    scene = Scene(conn)
    process = worker(DATABASE_URL=wire.url, LEASE_SECONDS=LEASE_SECONDS, WORKER_THREADS=2)

    def all_seen() -> bool:
        if not all(wire.seen[name] for name in AFTER_A_LOST_REPLY):
            wire.lose_reply_to = {"settle_completed", "claim"}
        scene.go_on(wire.seen.keys())
        return all_seen_but(wire, {*AT_THE_END}) == []

    came = until(all_seen)
    scene.let_go()
    assert came, all_seen_but(wire, {*AT_THE_END})
    process.terminate()

    assert process.wait(AT_ONCE) == 0
    assert all_seen_but(wire, set()) == []
    assert set(statements.LEFT_OUT) <= set(statements.of_worker())


def all_seen_but(wire, apart: set[str]) -> list[str]:
    """Return the statements that have not been sent yet."""
    return [name for name in statements.refusable() if not wire.seen[name] and name not in apart]


@pytest.mark.parametrize(("name", "refusal"), cases(), ids=str)
def test_a_statement_that_is_refused_stops_nothing_else(name, refusal, worker, wire, conn, beats, ledger, record):
    scene = Scene(conn)
    wire.refuse(name, refusal)
    process = worker(DATABASE_URL=wire.url, LEASE_SECONDS=LEASE_SECONDS, WORKER_THREADS=2, wait=False)
    eventually(lambda: "up to" in process.log)
    watched = beats()

    with unhurt(process, at_most=MOST_COMPLAINTS):
        if name not in AT_THE_END:

            def refused() -> bool:
                if name in AFTER_A_LOST_REPLY:
                    wire.lose_reply_to = {"settle_completed", "claim"}
                scene.go_on(wire.seen.keys() - {name})
                return watched.look() and wire.refused > 0

            came = until(refused)
            scene.let_go()
            assert came, "it was never sent"
            heals_at = time.monotonic() + LASTS_SECONDS
            until(lambda: watched.look() and time.monotonic() > heals_at, within=2 * LASTS_SECONDS)
            assert name in BEAT_NEEDS or watched.go_on(LEASE_SECONDS), "the beats stopped"
            wire.heal()
        eventually(scene.all_ended)
    if name in AT_THE_END:
        # Who has not begun to count need not leave it to others.
        eventually(lambda: name != "leave_counting" or wire.seen["take_counting"])
        process.terminate()
        eventually(lambda: wire.refused > 0)
        wire.heal()
    else:
        process.terminate()

    assert process.wait(AT_ONCE) == 0
    assert "Exception in thread" not in process.log
    assert max(named(process).values(), default=0) <= 1
    ends, starts = scene.ends(), ledger.counts("start")
    assert {job.id: ends[job.id] for job in scene.jobs if ends[job.id] != ("succeeded", 1)} == {}
    assert {id: count for id, count in starts.items() if count != 1} == {}
    assert {ends[orphan.id] for orphan in scene.orphans} == {("succeeded", 2)}
    record("every statement", "all jobs ended, no thread or process died, leases were renewed", part=name)
