"""The clients: they enqueue, list and cancel over HTTP at a steady rate, and remember every answer."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.waiting import pause

# Longer than any deadline of the service: a call that takes longer hangs.
PATIENCE_SECONDS = 60.0
# Shorter than Retry-After asks for, to see soon when the service is back.
BACKOFF_SECONDS = 0.25
BATCH, MOST_IN_BATCH = (2, 25), 400
IDLE_SECONDS = 0.003


class Answer(NamedTuple):
    """One request and its answer. `status` is 0 if the connection broke, and error says how.

    Units: times are of the monotonic clock. idle_since is when this connection was last used before.
    """

    call: str
    began_at: float
    ended_at: float
    status: int
    retry_after: bool
    error: str
    idle_since: float

    @property
    def seconds(self) -> float:
        """Return how long the call took."""
        return self.ended_at - self.began_at


class Accepted(NamedTuple):
    """A job that the API accepted. `how` is single, keyed, batch, keyed batch or copy."""

    n: int
    how: str
    kind: str
    times: int
    max_attempts: int
    at: float


@dataclass(frozen=True)
class Mix:
    """The mix of the clients' calls. The shares of each call; the rest are single jobs without a key. acts is the share
    of calls in whose place an operator acts.

    Units: rate is jobs a second.
    """

    rate: float
    keyed: float = 0.25
    batches: float = 0.12
    cancels: float = 0.03
    reads: float = 0.05
    acts: float = 0.0
    act: Callable[[Client], None] = lambda client: None
    batch: tuple[int, int] = BATCH
    job: Callable[[random.Random], dict[str, Any]] = lambda chance: {"kind": "c.works", "payload": {}}


class Load:
    """Some clients, each with a thread and a connection of its own."""

    def __init__(self, port: int, mix: Mix, *, seed: int, clients: int) -> None:
        self._port, self._mix = port, mix
        self._chances = [random.Random(f"haulier load {seed} {number}") for number in range(clients)]
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._began_at = 0.0
        self._asked = 0
        self._stopped = threading.Event()
        self._orders: deque[Callable[[Client], None]] = deque()
        self._threads: list[threading.Thread] = []
        # Compared with the tables at the end.
        self.accepted: dict[str, Accepted] = {}
        self.keys: dict[str, str] = {}
        self.conflicts: list[str] = []
        self.cancelled: dict[str, str] = {}
        # A cancel whose answer was lost may have taken effect, and its repetition then gets 409.
        self.perhaps_cancelled: set[str] = set()
        self.answers: list[Answer] = []
        self.unknown = 0
        self.in_flight = 0
        self.cancellable: deque[str] = deque(maxlen=50)
        # Those with tags, on which operators may act.
        self.to_act_on: deque[str] = deque(maxlen=200)

    def start(self) -> None:
        """Start the clients."""
        self._began_at = time.monotonic()
        for number, chance in enumerate(self._chances):
            client = Client(self, self._port, chance)
            thread = threading.Thread(target=self._serve, args=(client,), name=f"client-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, within: float) -> bool:
        """Begin no new calls, repeat those without a clear answer, and end; False when the time is up first."""
        self._stopped.set()
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def order(self, act: Callable[[Client], None]) -> None:
        """Have the next free client do this."""
        self._orders.append(act)

    def _serve(self, client: Client) -> None:
        try:
            self._run(client)
        finally:
            client.close()

    def _run(self, client: Client) -> None:
        while not self._stopped.is_set() or self._orders:
            with suppress(IndexError):
                self._orders.popleft()(client)
                continue
            if self._stopped.is_set():
                return
            behind = self._behind()
            if behind > 0:
                self._ask(client, behind)
            else:
                pause(IDLE_SECONDS)

    def _behind(self) -> float:
        with self._lock:
            return self._mix.rate * (time.monotonic() - self._began_at) - self._asked

    def _ask(self, client: Client, behind: float) -> None:
        mix, chance = self._mix, client.chance
        if chance.random() < mix.acts:
            mix.act(client)
            return
        drawn = chance.random()
        if drawn < mix.reads:
            client.look()
            return
        drawn -= mix.reads
        if drawn < mix.cancels and self.cancellable:
            with suppress(IndexError):
                client.cancel(self.cancellable.pop())
            return
        drawn -= mix.cancels
        # After an outage the clients catch up, by larger batches.
        if drawn < mix.batches or behind > 2 * mix.rate:
            size = chance.randint(*mix.batch)
            if behind > mix.rate:
                size = min(MOST_IN_BATCH, max(size, int(behind / 4)))
            client.batch([mix.job(chance) for _ in range(size)], keyed=chance.random() < 0.5)
        else:
            client.single(mix.job(chance), keyed=drawn - mix.batches < mix.keyed)

    # For clients

    def number(self, jobs: Sequence[dict[str, Any]], *, keyed: bool) -> list[dict[str, Any]]:
        """Return the requests with new numbers, and with keys made of these; they count as sent."""
        with self._lock:
            self._asked += len(jobs)
            numbers = [next(self._numbers) for _ in jobs]
        numbered = [{**job, "payload": {**job["payload"], "n": n}} for n, job in zip(numbers, jobs, strict=True)]
        return (
            [{**job, "idempotency_key": f"chaos-{n}"} for n, job in zip(numbers, numbered, strict=True)]
            if keyed
            else numbered
        )

    def take_down(self, how: str, pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Remember jobs that were accepted, each with its id."""
        now = time.monotonic()
        with self._lock:
            for job_id, job in pairs:
                payload = job["payload"]
                entry = Accepted(
                    payload["n"], how, job["kind"], payload.get("times", 1), job.get("max_attempts", 3), now
                )
                self.accepted[job_id] = entry
                if (key := job.get("idempotency_key")) and self.keys.setdefault(key, job_id) != job_id:
                    self.conflicts.append(key)
                # Deferred jobs can be cancelled while they wait, and some of the others while they run.
                if job.get("tags"):
                    self.to_act_on.append(job_id)
                elif "delay_seconds" in job or (
                    job["kind"] in ("c.works", "c.long", "c.apart") and payload["n"] % 10 == 0
                ):
                    self.cancellable.append(job_id)

    def count_in_flight(self, change: int) -> None:
        """Note that a request begins, or has ended."""
        with self._lock:
            self.in_flight += change


class Client:
    """One connection, kept alive."""

    def __init__(self, load: Load, port: int, chance: random.Random) -> None:
        self.load, self._port, self.chance = load, port, chance
        self._conn: http.client.HTTPConnection | None = None
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        if self._conn is not None:
            self._conn.close()

    def single(self, job: dict[str, Any], *, keyed: bool) -> str | None:
        """Enqueue one job, and return its id; with a key, repeat the call until the job is known to be accepted."""
        [numbered] = self.load.number([job], keyed=keyed)
        how = "keyed" if keyed else "single"
        while True:
            answer, body = self.call("enqueue", "POST", "/jobs", numbered)
            if answer.status in (200, 201):
                self.load.take_down(how, [(body["id"], numbered)])
                return str(body["id"])
            if not self._goes_on(answer, keyed=keyed):
                return None

    def batch(self, jobs: Sequence[dict[str, Any]], *, keyed: bool) -> list[str]:
        """Enqueue many jobs in the same way."""
        numbered = self.load.number(jobs, keyed=keyed)
        while True:
            answer, body = self.call("batch", "POST", "/jobs/batch", numbered)
            if answer.status == 201:
                ids = [str(each["id"]) for each in body["jobs"]]
                self.load.take_down("keyed batch" if keyed else "batch", zip(ids, numbered, strict=True))
                return ids
            if not self._goes_on(answer, keyed=keyed):
                return []

    def cancel(self, job_id: str) -> None:
        """Cancel a job, and repeat the call until the answer is known."""
        while True:
            answer, body = self.call("cancel", "POST", f"/jobs/{job_id}/cancel", None)
            if answer.status in (200, 202):
                self.load.cancelled[job_id] = str(body["status"])
                return
            if answer.status == 409 or not self._goes_on(answer, keyed=True):
                return
            self.load.perhaps_cancelled.add(job_id)

    def look(self) -> None:
        """List some jobs."""
        self.call("list", "GET", "/jobs?limit=5", None)

    def _goes_on(self, answer: Answer, *, keyed: bool) -> bool:
        pause(BACKOFF_SECONDS)
        if not keyed and answer.status in (0, 503):
            # Nobody can know whether it was stored.
            self.load.unknown += 1
        return keyed and answer.status in (0, 500, 503)

    def call(self, call: str, method: str, path: str, body: object) -> tuple[Answer, Any]:
        """Make one call, and return its answer with what was read of it."""
        load, began_at, idle_since = self.load, time.monotonic(), self._used_at
        status, retry_after, error, read = 0, False, "", None
        load.count_in_flight(1)
        try:
            if self._conn is None:
                self._conn = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
                idle_since = began_at
            payload = None if body is None else json.dumps(body).encode()
            self._conn.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
            response = self._conn.getresponse()
            raw = response.read()
            status, retry_after = response.status, response.headers.get("Retry-After") is not None
            read = json.loads(raw) if raw else None
            if status >= 500:
                error = str(read.get("error")) if isinstance(read, dict) else raw[:80].decode("utf-8", "replace")
        except (OSError, http.client.HTTPException, ValueError) as broken:
            status, error = 0, type(broken).__name__
            if self._conn is not None:
                self._conn.close()
            self._conn = None
        finally:
            load.count_in_flight(-1)
        self._used_at = time.monotonic()
        answer = Answer(call, began_at, self._used_at, status, retry_after, error, idle_since)
        load.answers.append(answer)
        return answer, read
