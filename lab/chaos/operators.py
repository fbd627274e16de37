"""What operators do, by HTTP: single acts on jobs of c.acted, and operations on all of these that a filter means."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg2

from lab.chaos.load import Client, Load
from lab.chaos.stage import Stage
from lab.waiting import TookTooLong, pause, until

KIND, FOREVER = "c.acted", 1000
GROUPS = ("group-0", "group-1", "group-2", "group-3")
QUEUES = ("default", "aside")
ACTIONS = ("cancel", "retry", "change", "delete")
# So many jobs that wait for a while, for an operation that takes some time.
CROWD, CROWD_TAG = 300, "crowd"
ONE_OF_A_CROWD = {"kind": KIND, "tags": [CROWD_TAG], "payload": {"times": 0}, "delay_seconds": 20}
# A retry or a delete waits for up to 20 s until what has ended is counted.
BEGUN_SECONDS = 30.0
# How long a run of them takes, and how often. Few take long: operations retry them many times over, and all jobs of the
# load together must leave the workers' 24 threads time for what faults cost.
RUNS_MS = {0: 75, 300: 20, 1500: 5}
# The share of operations among an operator's acts.
OPERATIONS = 0.15

# The single acts: how often each comes, and the call.
ACTS = {
    "change": (4, "PATCH", "/jobs/{}"),
    "retry": (4, "POST", "/jobs/{}/retry"),
    "cancel": (2, "POST", "/jobs/{}/cancel"),
    "copy": (1, "POST", "/jobs/{}/copy"),
    "delete": (1, "DELETE", "/jobs/{}"),
}
# These write a number into the payload that no other act writes.
MARKED = ("change", "retry", "copy")


class Act(NamedTuple):
    """A call of an operator.

    `action` is as in the audit; target is a job or an operation; status is 0 if no answer came.
    """

    action: str
    target: str
    mark: int | None
    status: int

    @property
    def is_done(self) -> bool:
        """Return whether the answer says so."""
        return 200 <= self.status < 300

    @property
    def is_unknown(self) -> bool:
        """Return whether it may have been done or not."""
        return self.status == 0 or self.status >= 500


def place_of(mark: int) -> tuple[str, int]:
    """Return the queue and the priority that a job gets with this mark."""
    return QUEUES[mark % 2], mark % 3


def job(chance: random.Random) -> dict[str, Any]:
    """Return a job to act on: many wait for a while, many fail whatever is done, some run for a while."""
    is_hopeless = chance.random() < 0.4
    [ms] = chance.choices(list(RUNS_MS), list(RUNS_MS.values()))
    found: dict[str, Any] = {
        "kind": KIND,
        "tags": [chance.choice(GROUPS)],
        "payload": {"times": FOREVER if is_hopeless else 0, "ms": ms},
        "max_attempts": 2 if is_hopeless else 20,
    }
    return found | chance.choice([{}, {}, {"delay_seconds": 2}, {"delay_seconds": 6}])


class Operator:
    """Acts by the clients' connections, and remembers each answer."""

    def __init__(self) -> None:
        self._marks = itertools.count(1)
        self.acts: list[Act] = []

    def act(self, client: Client) -> None:
        """Do something to a job, or to all jobs of a filter."""
        if client.chance.random() < OPERATIONS:
            self._operate_and_watch(client)
        else:
            # Without an answer nothing is repeated: it may have been done, or not.
            with suppress(IndexError):
                self._act_on(client, client.chance.choice(client.load.to_act_on))

    def _act_on(self, client: Client, job_id: str) -> None:
        [action] = client.chance.choices(list(ACTS), [weight for weight, _, _ in ACTS.values()])
        _, method, path = ACTS[action]
        mark = next(self._marks) if action in MARKED else None
        body = None if mark is None else self._changes(client, job_id, mark)
        answer, read = client.call(action, method, path.format(job_id), body)
        self.acts.append(Act(action, job_id, mark, answer.status))
        if answer.status == 201:
            client.load.take_down(action, [(read["id"], read)])

    @staticmethod
    def _changes(client: Client, job_id: str, mark: int) -> dict[str, Any]:
        queue, priority = place_of(mark)
        # Whatever it was, now it will succeed.
        payload = {"n": client.load.accepted[job_id].n, "times": 0, "mark": mark}
        return {"queue": queue, "priority": priority, "payload": payload, "max_attempts": 20}

    def _operate_and_watch(self, client: Client) -> None:
        chance = client.chance
        action = chance.choice(ACTIONS)
        wanted: dict[str, Any] = {"tag": chance.sample(GROUPS, chance.choice([1, 1, 2]))}
        if chance.random() < 0.2:
            wanted["queue"] = [chance.choice(QUEUES)]
        if action in ("retry", "delete") and chance.random() < 0.2:
            wanted["status"] = [chance.choice(["failed_permanent", "cancelled"])]
        operation = self.operate(client, action, wanted)
        for then in chance.choice([[], [], ["advance"], ["cancel"], ["cancel", "resume"]]) if operation else ():
            pause(chance.uniform(0, 1))
            answer, _ = client.call(f"{then}_operation", "POST", f"/operations/{operation}/{then}", None)
            self.acts.append(Act(f"{then}_operation", str(operation), None, answer.status))

    def operate(self, client: Client, action: str, wanted: dict[str, Any]) -> str | None:
        """Preview an operation, start it bound to that, and return its id; None if an answer is lost."""
        order: dict[str, Any] = {"action": action, "filter": wanted}
        if action == "change":
            chosen = client.chance.choice([{"priority": 2}, {"queue": "aside"}, {"priority": 0, "delay_seconds": 0}])
            order["changes"] = chosen
        answer, seen = client.call("preview", "POST", "/operations", {**order, "dry_run": True})
        if answer.status != 200:
            return None
        bound = {**order, "as_of": seen["as_of"], "starts_in_seconds": 0}
        answer, started = client.call("operate", "POST", "/operations", bound)
        made = str(started["id"]) if answer.status == 202 else None
        self.acts.append(Act("operate", made or "", None, answer.status))
        return made

    def begun(self, stage: Stage, load: Load, action: str) -> str:
        """Have an operation on all there is started, and return once it is under way, or how else it stands."""
        made: list[str | None] = []
        load.order(lambda client: made.append(self.operate(client, action, {"tag": [*GROUPS, CROWD_TAG]})))

        def stands() -> str | None:
            if not made or made[0] is None:
                return "not started" if made else None
            with suppress(psycopg2.Error):
                for status, done in stage.run("SELECT status, done FROM haulier.operation WHERE id = %s", made[0]):
                    return "over" if status not in ("waiting", "running") else "under way" if done else None
            return None

        with suppress(TookTooLong):
            return until(stands, within=BEGUN_SECONDS, what="an operation is under way", every=0.03)
        return "not begun"
