"""The processes that faults break: a Postgres, a proxy before it for the API and one for workers, gunicorn, workers."""

from __future__ import annotations

import http.client
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

from haulier.local.guard import Guarded
from haulier.postgres.connection import connect as own_connection
from haulier.postgres.scratch import url_of
from haulier.queue.upkeep.migrate import migrate
from lab.descendants import children, descendants, is_apart
from lab.proxy import Proxy
from lab.servers import Connection, Database, free_port
from lab.waiting import ROOT, environment, pause, until

# Not the interpreter of the bench's environment: that is only for drawing.
PYTHON = str(ROOT / ".venv/bin/python") if sys.prefix == str(ROOT / ".venv-bench") else sys.executable
WATCH_SECONDS = 0.05
# A watch that comes late by this shows that the machine has not let the suite run.
STALL_SECONDS = 0.5
# The application name of the suite's own connections, which no fault may hit: faults look for names of Haulier's.
OURS = "chaos"
STOP_BY = ((signal.SIGTERM, 12.0), (signal.SIGKILL, 2.0))
# Triggers inside the database that raise the suite's errors and write its records.
WITNESS = (Path(__file__).parent / "witness.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Death:
    """The end of a worker process, when the suite saw it. Units: at is of the monotonic clock.

    `why` is the fault that killed it, or "ended".
    """

    pid: int
    at: float
    why: str


@dataclass
class Service:
    """A command that is started again whenever it ends, as a platform does."""

    name: str
    guarded: Guarded
    # Whether the processes that work are children of the process that was started, or that process itself.
    has_children: bool
    starts: int = 0
    seen: set[int] = field(default_factory=set)
    _main: int | None = None

    def start(self) -> None:
        """Start the command, or start it again."""
        self.guarded.start()
        self.starts += 1
        self._main = None

    def main(self) -> int | None:
        """Return the process that was started, even after it has died."""
        assert self.guarded.process is not None
        if self._main is None:
            # Found early, before it has children: they would become children of the guard when it dies.
            self._main = next(iter(children(self.guarded.process.pid)), None)
        return self._main

    def has_ended(self) -> bool:
        """Return whether the process that was started has ended."""
        return self.guarded.ended() is not None

    def working(self) -> list[int]:
        """Return the processes that work."""
        assert self.guarded.process is not None
        main = self.main()
        # Without the child processes of isolated kinds, which are no workers.
        found = [pid for pid in descendants(self.guarded.process.pid) if not is_apart(pid)]
        return [pid for pid in found if pid != main] if self.has_children else found


class Stage:
    """Everything that runs; services that end are started again until the stage is closed."""

    # So many register once all are there.
    worker_processes = 3

    def __init__(self, folder: Path, *, is_broken: bool, web: dict[str, str], worker: dict[str, str]) -> None:
        self.folder = folder
        self._is_broken = is_broken
        self.lease_seconds = float(worker["LEASE_SECONDS"])
        self.ledger = folder / "ledger"
        self.clock = folder / "clock"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.shift_clock(0.0)
        self.deaths: list[Death] = []
        # The times in which the machine did not let the suite run, each from and until.
        self.stalls: list[tuple[float, float]] = []
        # Why each process dies that the suite kills.
        self.reasons: dict[int, str] = {}
        self.services: list[Service] = []
        self._settings = {"web": web, "worker": worker}
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def open(self, stack: ExitStack) -> None:
        """Start the database, the proxies and the services; the stack ends them."""
        self.database = Database(self.folder / "pg")
        stack.enter_context(self.database)
        self.url = url_of(self.database.dsn, "chaos")
        with closing(_connect(self.database.dsn)) as conn, conn.cursor() as cursor:
            cursor.execute("CREATE DATABASE chaos TEMPLATE template0")
        with closing(own_connection(self.url)) as conn:
            migrate(conn, retention_days=30)
        self._urls = {"web": self.url, "worker": self.url}
        if self._is_broken:
            self.run(WITNESS)
            self._go_by_proxies(stack)
        self.port = free_port()
        stack.callback(self._stop)
        self._add_services()
        threading.Thread(target=self._keep_running, name="platform", daemon=True).start()

    def _go_by_proxies(self, stack: ExitStack) -> None:
        self.web_proxy, self.worker_proxy = Proxy(self.url), Proxy(self.url)
        for proxy in (self.web_proxy, self.worker_proxy):
            proxy.start()
            stack.callback(proxy.close)
        self._urls = {"web": self.web_proxy.url, "worker": self.worker_proxy.url}

    def common(self) -> dict[str, str]:
        """Return what is in the environment of every service."""
        return {
            **environment(),
            "PYTHONPATH": str(ROOT),
            "HAULIER_KINDS": "lab.chaos.kinds",
            "TMPDIR": str(self.folder),
            "LOG_FORMAT": "json",
        }

    def _add_services(self) -> None:
        web = {
            **self.common(),
            "DATABASE_URL": self._urls["web"],
            "API_BIND_ADDR": f"127.0.0.1:{self.port}",
            **self._settings["web"],
        }
        worker = {
            **self.common(),
            "DATABASE_URL": self._urls["worker"],
            "CHAOS_LEDGER": str(self.ledger),
            "CHAOS_CLOCK": str(self.clock),
            "WORKER_METRICS_PORT": "0",
            **self._settings["worker"],
        }
        gunicorn = [PYTHON, "-m", "gunicorn", "app:create_app()"]
        self._add("web", gunicorn, web, has_children=True)
        self._add("worker", [PYTHON, "worker.py"], {**worker, "WORKER_PROCESSES": "1"}, has_children=False)
        self._add("family", [PYTHON, "worker.py"], {**worker, "WORKER_PROCESSES": "2"}, has_children=True)

    def _add(self, name: str, command: list[str], env: dict[str, str], *, has_children: bool) -> None:
        guarded = Guarded(command, STOP_BY, env=env, cwd=ROOT, output=self.logs / f"{name}.log")
        service = Service(name, guarded, has_children)
        service.start()
        self.services.append(service)

    def connect(self) -> Connection:
        """Return a connection of the suite's own: past the proxies, in autocommit, never read-only."""
        conn = _connect(self.url)
        with conn.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
        return conn

    def run(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own and return its rows."""
        with closing(self.connect()) as conn, conn.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def shift_clock(self, seconds: float) -> None:
        """Let the clock that the workers' Python reads be off by this much."""
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("<d", seconds))

    def service(self, name: str) -> Service:
        """Return the service of that name."""
        return next(each for each in self.services if each.name == name)

    def workers(self) -> list[int]:
        """Return the processes that run jobs."""
        return [pid for service in self.services if service.name != "web" for pid in service.working()]

    def kill(self, pid: int, why: str) -> bool:
        """Kill the process as the kernel's out-of-memory killer does; False when it was gone already."""
        self.reasons[pid] = why
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def is_ready(self) -> bool:
        """Return whether the API answers and a worker has registered in each process."""
        with suppress(psycopg2.Error):
            [(count,)] = self.run("SELECT count(*) FROM haulier.worker WHERE beat_at > now() - lease")
            return int(count) >= self.worker_processes and self.answers()
        return False

    def answers(self) -> bool:
        """Return whether the API says that it is healthy."""
        with (
            suppress(OSError, http.client.HTTPException),
            closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as conn,
        ):
            conn.request("GET", "/health")
            return conn.getresponse().status == 200
        return False

    def _keep_running(self) -> None:
        while not self._closed.is_set():
            for service in self.services:
                self._look_after(service)
            began_at = time.monotonic()
            pause(WATCH_SECONDS)
            if time.monotonic() - began_at > WATCH_SECONDS + STALL_SECONDS:
                self.stalls.append((began_at, time.monotonic()))

    def _look_after(self, service: Service) -> None:
        alive = set(service.working())
        with self._lock:
            if service.name != "web":
                now = time.monotonic()
                gone = service.seen - alive
                self.deaths += [Death(pid, now, self.reasons.get(pid, "ended")) for pid in gone]
            service.seen = alive
        if service.has_ended() and not self._closed.is_set():
            service.start()

    def _stop(self) -> None:
        self._closed.set()
        pause(2 * WATCH_SECONDS)
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for service in self.services:
            service.guarded.release()
        for service in self.services:
            until(service.has_ended, within=30, what=f"{service.name} ends")


def _connect(url: str) -> Connection:
    conn: Connection = psycopg2.connect(make_dsn(url, application_name=OURS, connect_timeout=5))
    conn.autocommit = True
    return conn


@contextmanager
def stage(folder: Path, *, is_broken: bool, web: dict[str, str], worker: dict[str, str]) -> Iterator[Stage]:
    """Yield a stage on which everything runs and answers; if is_broken, with proxies and the suite's triggers."""
    with opened(Stage(folder, is_broken=is_broken, web=web, worker=worker)) as made:
        yield made


@contextmanager
def opened(made: Stage) -> Iterator[Stage]:
    """Yield the stage once everything runs and answers."""
    with ExitStack() as stack:
        made.open(stack)
        until(made.is_ready, within=60, what="the API and the workers are ready", every=0.2)
        yield made
