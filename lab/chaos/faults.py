"""Does and undoes each fault. A fault chooses among the processes it finds, so that one plan runs on any machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from lab.chaos.load import Client, Load
from lab.chaos.operators import ACTIONS, CROWD, ONE_OF_A_CROWD, Operator
from lab.chaos.plan import Fault
from lab.chaos.stage import Stage
from lab.descendants import apart, usage
from lab.proxy import Proxy
from lab.waiting import pause, until

# A process with more memory than this has leaked, and is killed, as a platform would do.
MOST_BYTES = 300_000_000
# How long a cut waits for the message that it is to cut.
CUT_SECONDS = 4.0
# Longer than any deadline of a call.
HALF_OPEN_SECONDS = 9.0
BACKENDS = ("haulier web", "haulier worker", "haulier listener", "haulier %")
RESUME = "SELECT haulier.resume_queue('default', 'chaos')"
WORKER_CUTS = (b"haulier.settled", b"plan_cache_mode", b"UPDATE haulier.worker", b"COMMIT;")
WEB_CUTS = (b"INSERT INTO haulier.job", b"COMMIT;", b"INSERT INTO haulier.idempotency")

T = TypeVar("T")


@dataclass
class Injected:
    """A fault as it was done. Units: times are of the monotonic clock; ended_at is when the fault was undone.

    `touches` has `web`, `workers` or both, if every process of that side is hit; pids has the single processes that are
    hit; which says what was chosen if there was a choice.
    """

    name: str
    began_at: float
    ended_at: float = 0.0
    touches: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    jobs: list[str] = field(default_factory=list)
    which: str = ""


class CameToNothing(Exception):
    """There was nothing to break just then; this is not counted as a fault."""


class Faults:
    """Does the faults, each at its time; faults that break the same thing come one after the other."""

    def __init__(self, stage: Stage, load: Load, operator: Operator) -> None:
        self._stage, self._load, self._operator = stage, load, operator
        self._locks = {name: threading.Lock() for name in ("database", "web", "workers", "web bytes", "worker bytes")}
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._paused: set[int] = set()
        self.done: list[Injected] = []
        self.failed: list[str] = []
        self.came_to_nothing: list[str] = []

    def run(self, faults: list[Fault], *, seconds: float) -> None:
        """Do all faults and return after this many seconds."""
        began_at = time.monotonic()
        memory = threading.Thread(target=self._watch_memory, name="memory", daemon=True)
        memory.start()
        for fault in faults:
            pause(max(0.0, began_at + fault.at - time.monotonic()))
            thread = threading.Thread(target=self._do, args=(fault,), name=f"fault {fault.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        pause(max(0.0, began_at + seconds - time.monotonic()))

    def heal(self) -> None:
        """Wait for the last fault to end, and undo whatever is still broken."""
        for thread in self._threads:
            thread.join(60)
        self._stopped.set()
        stage = self._stage
        for pid in list(self._paused):
            self._resume(pid)
        for proxy in (stage.web_proxy, stage.worker_proxy):
            proxy.silent, proxy.delay, proxy.cut_before, proxy.cut_reply_to = False, 0.0, None, None
            proxy.free()
        stage.shift_clock(0.0)
        stage.run("DELETE FROM chaos.mood")
        stage.run(RESUME)

    def _do(self, fault: Fault) -> None:
        injected = Injected(fault.name, time.monotonic())
        try:
            getattr(self, f"_{fault.name}")(injected, fault.drawn)
        except CameToNothing as nothing:
            self.came_to_nothing.append(f"{fault.name}: {nothing}")
            return
        except Exception as error:
            self.failed.append(f"{fault.name}: {type(error).__name__}: {error}")
            return
        injected.ended_at = injected.ended_at or time.monotonic()
        self.done.append(injected)

    @contextmanager
    def _holding(self, name: str, injected: Injected) -> Iterator[None]:
        """Wait until no other fault breaks this thing; the fault begins then."""
        with self._locks[name]:
            injected.began_at = time.monotonic()
            yield

    def _sleep(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    # Processes

    def _worker_killed(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("workers", injected):
            pid = _picked(self._some(self._stage.workers), drawn)
            injected.pids = (pid,)
            injected.began_at = time.monotonic()
            self._stage.kill(pid, "worker_killed")

    def _family_killed(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("workers", injected):
            family = self._stage.service("family")
            parent = until(family.main, within=30, what="a parent of workers")
            injected.pids = (parent, *family.working())
            for pid in injected.pids[1:]:
                self._stage.reasons.setdefault(pid, "family_killed")
            self._stage.kill(parent, "family_killed")

    def _worker_paused(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("workers", injected):
            pid = _picked(self._some(self._stage.workers), drawn)
            injected.pids = (pid,)
            self._paused.add(pid)
            injected.began_at = time.monotonic()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self._sleep(drawn["leases"] * self._stage.lease_seconds)
        self._resume(pid)

    def _resume(self, pid: int) -> None:
        self._paused.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _some(self, find: Callable[[], list[int]]) -> list[int]:
        return sorted(until(lambda: [pid for pid in find() if pid not in self._paused], within=30, what="a process"))

    def _web_killed(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("web", injected):
            found = until(self._stage.service("web").working, within=30, what="a process of gunicorn")
            # Wait for a request in flight, but not for long.
            deadline = time.monotonic() + 2
            while not self._load.in_flight and time.monotonic() < deadline:
                pause(0.0005)
            pids = found if drawn["pick"] < 0.5 else [_picked(sorted(found), drawn)]
            injected.which = "in mid-request" if self._load.in_flight else "between requests"
            injected.pids = tuple(pids)
            injected.began_at = time.monotonic()
            for pid in pids:
                self._stage.kill(pid, "web_killed")
            injected.touches = ("web",)

    def _clock_jumps(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("workers", injected):
            self._stage.shift_clock(drawn["seconds"])
            self._sleep(drawn["lasts"])
            self._stage.shift_clock(0.0)

    def _watch_memory(self) -> None:
        while not self._stopped.wait(0.2):
            for pid in self._stage.workers():
                used = usage(pid)
                if used is not None and used.rss > MOST_BYTES:
                    self._stage.kill(pid, "handler_leaks")

    # The database

    def _database_stopped(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("database", injected):
            injected.touches = ("web", "workers")
            self._stage.database.stop_immediately()
            self._sleep(drawn["lasts"])
            self._stage.database.start_again()
            injected.ended_at = time.monotonic()

    def _backends_terminated(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("database", injected):
            who = _picked(BACKENDS, {"pick": drawn["which"]})
            injected.touches = {"haulier web": ("web",), "haulier %": ("web", "workers")}.get(who, ("workers",))
            found = self._stage.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE %s",
                who,
            )
            injected.which = "all" if who == "haulier %" else who.removeprefix("haulier ")
            if not found:
                raise CameToNothing(f"no connection of {who}")

    def _disk_full(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._moody(injected, drawn, "53100", 'could not extend file "base/5/16385": No space left on device')

    def _deadlocks(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._moody(injected, drawn, "40P01", "deadlock detected")

    def _serialization_errors(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._moody(injected, drawn, "40001", "could not serialize access due to concurrent update")

    def _moody(self, injected: Injected, drawn: Mapping[str, float], sqlstate: str, message: str) -> None:
        with self._holding("database", injected):
            injected.touches = ("web", "workers")
            self._stage.run(
                "INSERT INTO chaos.mood VALUES (%s, %s, %s)", sqlstate, message, drawn.get("probability", 1.0)
            )
            self._sleep(drawn["lasts"])
            self._stage.run("DELETE FROM chaos.mood")

    def _read_only(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("database", injected):
            injected.touches = ("web", "workers")
            # The setting only takes effect in new sessions, so terminate the others, as a failover would.
            self._stage.run("ALTER DATABASE chaos SET default_transaction_read_only = on")
            self._stage.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'haulier %'"
            )
            self._sleep(drawn["lasts"])
            self._stage.run("ALTER DATABASE chaos RESET default_transaction_read_only")

    def _table_locked(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        with self._holding("database", injected), closing(self._stage.connect()) as conn, conn.cursor() as cursor:
            injected.touches = ("web", "workers")
            cursor.execute("BEGIN; LOCK TABLE haulier.job IN ACCESS EXCLUSIVE MODE")
            injected.began_at = time.monotonic()
            self._sleep(drawn["lasts"])
            cursor.execute("ROLLBACK")

    def _queue_paused(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        # Not while the database is broken: it would be resumed late, or not at all.
        with self._holding("database", injected):
            injected.touches = ("workers",)
            self._stage.run("SELECT haulier.pause_queue('default', NULL, 'chaos')")
            injected.began_at = time.monotonic()
            self._sleep(drawn["lasts"])
            injected.ended_at = time.monotonic()
            self._stage.run(RESUME)

    def _operation_interrupted(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        action, what = _picked(ACTIONS, {"pick": drawn["action"]}), _picked(("workers", "web", "database"), drawn)
        if action in ("cancel", "change"):
            self._bad_jobs(injected, {"jobs": CROWD}, ONE_OF_A_CROWD)
        stands = self._operator.begun(self._stage, self._load, action)
        if what == "web":
            self._web_killed(injected, drawn)
        elif what == "database":
            self._database_stopped(injected, {"lasts": 0.5})
        else:
            with self._holding("workers", injected):
                injected.pids = tuple(self._some(self._stage.workers))
                for pid in injected.pids:
                    self._stage.kill(pid, injected.name)
        injected.which = f"{what} while a {action} was {stands}"

    # The network

    def _side(self, injected: Injected, share: float) -> tuple[str, Proxy]:
        is_web = share < 0.5
        injected.touches = ("web",) if is_web else ("workers",)
        injected.which = "web" if is_web else "workers"
        return ("web bytes", self._stage.web_proxy) if is_web else ("worker bytes", self._stage.worker_proxy)

    def _half_open(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        name, proxy = self._side(injected, drawn["side"])
        with self._holding(name, injected):
            proxy.strand()
            if not proxy.stranded:
                raise CameToNothing("no connection to strand")
            self._sleep(HALF_OPEN_SECONDS)
            proxy.free()

    def _bytes_dropped(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        name, proxy = self._side(injected, drawn["side"])
        with self._holding(name, injected):
            proxy.silent = True
            self._sleep(drawn["lasts"])
            proxy.silent = False

    def _database_slow(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        name, proxy = self._side(injected, drawn["side"])
        with self._holding(name, injected):
            proxy.delay = 0.5
            self._sleep(drawn["lasts"])
            proxy.delay = 0.0

    def _reply_cut(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._cut(injected, drawn, "cut_reply_to")

    def _request_cut(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._cut(injected, drawn, "cut_before")

    def _cut(self, injected: Injected, drawn: Mapping[str, float], how: str) -> None:
        name, proxy = self._side(injected, drawn["pick"])
        cuts = WEB_CUTS if name == "web bytes" else WORKER_CUTS
        with self._holding(name, injected):
            message, before = _picked(cuts, {"pick": drawn["which"]}), proxy.cuts
            setattr(proxy, how, message)
            deadline = time.monotonic() + CUT_SECONDS
            while proxy.cuts == before and time.monotonic() < deadline:
                pause(0.01)
            setattr(proxy, how, None)
            if proxy.cuts == before:
                raise CameToNothing(f"nobody sent {message.decode()!r}")
            injected.which += f" at `{message.decode()}`"

    # Handlers

    def _handler_raises(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        forever = {"kind": "c.raises", "payload": {"times": 1000}, "max_attempts": 3}
        self._bad_jobs(injected, drawn, forever if drawn["pick"] < 0.5 else {"kind": "c.raises", "payload": {}})

    def _handler_dawdles(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.dawdles", "payload": {}, "timeout_seconds": 1})

    def _handler_hangs(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        job = {"kind": "c.hangs", "payload": {"ms": int(drawn["ms"])}, "timeout_seconds": 1}
        self._bad_jobs(injected, drawn, job)

    def _handler_leaks(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.leaks", "payload": {}})

    def _handler_holds_gil(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.holds", "payload": {"ms": int(drawn["ms"])}})

    def _handler_exits(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.exits", "payload": {}})

    def _handler_is_poison(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.exits", "payload": {"times": 1000}, "max_attempts": 3})

    def _handler_is_deaf(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        job = {"kind": "c.deaf", "payload": {"ms": int(drawn["ms"])}}
        self._bad_jobs(injected, drawn, job)
        # Most of the jobs run by then.
        self._sleep(drawn["ms"] / 3000)
        for job_id in injected.jobs:
            self._load.order(partial(Client.cancel, job_id=job_id))

    def _child_killed(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.apart", "payload": {"ms": int(drawn["ms"])}})
        # Most of the jobs run by then.
        self._sleep(drawn["ms"] / 2000)
        with self._holding("workers", injected):
            found = {worker: apart(worker) for worker in self._stage.workers()}
            injected.pids = tuple(worker for worker, children in found.items() if children)
            if not injected.pids:
                raise CameToNothing("no worker has a process for an isolated kind")
            for child in chain.from_iterable(found.values()):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def _child_exits(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.apart_exits", "payload": {}})

    def _child_holds_gil(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.apart_holds", "payload": {"ms": int(drawn["ms"])}})

    def _child_grows(self, injected: Injected, drawn: Mapping[str, float]) -> None:
        self._bad_jobs(injected, drawn, {"kind": "c.apart_grows", "payload": {"times": 1000}, "max_attempts": 3})

    def _bad_jobs(self, injected: Injected, drawn: Mapping[str, float], job: dict[str, Any]) -> None:
        asked = threading.Event()

        def enqueue(client: Client) -> None:
            injected.jobs += client.batch([{"max_attempts": 20, **job}] * round(drawn.get("jobs", 1)), keyed=True)
            asked.set()

        self._load.order(enqueue)
        if not asked.wait(60):
            raise TimeoutError("the jobs were not accepted")


def _picked(among: Sequence[T], drawn: Mapping[str, float]) -> T:
    return among[min(int(drawn["pick"] * len(among)), len(among) - 1)]
