"""Keeps the processes of one database running, the API and a worker, and stops them in order."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType

import requests

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.local.guard import Guarded
from haulier.postgres.connection import connect
from haulier.postgres.errors import translated
from haulier.queue.upkeep.migrate import migrate

CHECKOUT = Path(__file__).resolve().parents[2]

TICK_SECONDS = 0.1
START_SECONDS = 60.0
FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 30.0
# After a run of this length the next restart waits only FIRST_DELAY_SECONDS again.
STEADY_SECONDS = 30.0
# How much longer than SHUTDOWN_SECONDS a process may take before it is killed.
STOP_GRACE_SECONDS = 5.0

COMMANDS = {name: (sys.executable, "-m", "haulier", name) for name in ("web", "worker")}


class NotStarted(HaulierError):
    """Haulier cannot be started here."""


class Signals:
    """What the terminal asked for: once, to stop; twice, to stop without waiting for jobs."""

    def __init__(self) -> None:
        self.asked = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
            signal.signal(signal.SIGHUP, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1

    @property
    def stop(self) -> bool:
        """Return whether to stop."""
        return self.asked > 0

    @property
    def hurry(self) -> bool:
        """Return whether to stop without waiting for jobs."""
        return self.asked > 1


class Restarted:
    """A process that is started again when it ends, each time a little later."""

    def __init__(self, name: str, guarded: Guarded) -> None:
        self.name, self.guarded = name, guarded
        self._delay = FIRST_DELAY_SECONDS
        self._since = time.monotonic()
        self._start_at: float | None = None

    def look_after(self) -> None:
        """Notice when the process has ended, and start it again when it is time to."""
        now = time.monotonic()
        if self._start_at is None:
            if (code := self.guarded.ended()) is None:
                return
            if now - self._since > STEADY_SECONDS:
                self._delay = FIRST_DELAY_SECONDS
            say(f"{self.name} ended with exit code {code}; restarting in {self._delay:g} s")
            self._start_at = now + self._delay
            self._delay = min(2 * self._delay, LAST_DELAY_SECONDS)
        elif now >= self._start_at:
            self.guarded.start()
            self._since, self._start_at = now, None


class Supervisor:
    """The API and a worker on one database, which run inside the `with` block.

    `environ` is the environment of the processes, DATABASE_URL included. postgres is that database's server if the
    caller has started it: it is restarted too, but the caller stops it. logs is a folder for the output of the
    processes; None: the terminal. root is their working directory, in which they find kinds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        signals: Signals,
        *,
        postgres: Guarded | None = None,
        logs: Path | None = None,
        root: Path = CHECKOUT,
    ) -> None:
        self.config = Config.from_env(environ)
        self._signals = signals
        self._logs = logs
        self._left = threading.Event()
        stop_by = ((signal.SIGTERM, self.config.shutdown_seconds + STOP_GRACE_SECONDS),)
        self._ours = [
            Restarted(
                name,
                Guarded(
                    command,
                    stop_by,
                    env=environ,
                    cwd=root,
                    output=logs / f"{name}.log" if logs else None,
                    needs=[postgres] if postgres else [],
                ),
            )
            for name, command in COMMANDS.items()
        ]
        self._all = [*([Restarted("postgres", postgres)] if postgres else []), *self._ours]

    def __enter__(self) -> Supervisor:
        with closing(connect(self.config.database_url, application_name="haulier migrate")) as conn, translated():
            say(migrate(conn, retention_days=self.config.retention_days, cell=self.config.cell))
        try:
            for each in self._ours:
                each.guarded.start()
            self._wait_until_healthy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for each in self._ours:
            each.guarded.release()
        for each in self._ours:
            while each.guarded.process is not None and each.guarded.ended(within=TICK_SECONDS) is None:
                if self._signals.hurry:
                    each.guarded.kill()

    @property
    def url(self) -> str:
        """Return the address at which this machine reaches the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.config.host, self.config.host)
        return f"http://[{host}]:{self.config.port}" if ":" in host else f"http://{host}:{self.config.port}"

    def tick(self) -> None:
        """Wait a moment, then look after every process once."""
        self._left.wait(TICK_SECONDS)
        for each in self._all:
            each.look_after()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with local_session() as session:
            while not self._signals.stop:
                for each in self._ours:
                    if (code := each.guarded.ended(within=TICK_SECONDS / 2)) is not None:
                        raise NotStarted(f"{each.name} did not start: it ended with exit code {code}{self._see()}")
                with suppress(requests.RequestException):
                    if session.get(f"{self.url}/health", timeout=5).ok:
                        return
                if time.monotonic() > deadline:
                    raise NotStarted(f"{self.url}/health did not answer within {START_SECONDS:g} s{self._see()}")

    def _see(self) -> str:
        return f": see {self._logs}" if self._logs else ""


def say(line: str) -> None:
    """Print a line to the terminal."""
    print(f"haulier: {line}", flush=True)


def local_session() -> requests.Session:
    """Return a session that goes to this machine's own servers, whatever proxies the environment names."""
    session = requests.Session()
    session.trust_env = False
    return session


def why_not(host: str, port: int) -> str | None:
    """Return why a program cannot listen there, or None if it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror
    return None


def next_free_port(host: str, port: int) -> int:
    """Return the first port from this one on that can be listened on. Raises: NotStarted."""
    for candidate in range(port, min(port + 100, 65_536)):
        if why_not(host, candidate) is None:
            return candidate
    raise NotStarted(f"no port from {port} on is free: {why_not(host, port)}")
