"""Two servers with logical replication, the network between them and everybody else, and the commands of a move."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

from haulier.postgres.connection import connect as own_connection
from haulier.queue.upkeep.migrate import migrate
from lab.proxy import Proxy
from lab.servers import Database, connect
from lab.waiting import ROOT, environment, pause

# A write that replication does not copy.
WRITE = "UPDATE haulier.schema_version SET version = version"
COMMAND_SECONDS = 120.0


class LogicalServer(Database):
    """An embedded Postgres that others can subscribe to."""

    def _init(self, binaries: Path) -> None:
        is_new = not self.data.exists()
        super()._init(binaries)
        if is_new:
            with (self.data / "postgresql.conf").open("a") as file:
                file.write("wal_level = logical\nmax_wal_size = 8GB\n")


class Tripwire(Proxy):
    """A proxy that does something when a message with these words passes, before it or after it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.words, self.is_after = b"", False
        self.act: Callable[[], object] | None = None
        self.has_tripped = threading.Event()

    def trip(self, words: str, act: Callable[[], object], *, after: bool) -> None:
        """Call this once, when these words are sent to the server."""
        self.has_tripped.clear()
        self.is_after, self.act, self.words = after, act, words.encode()

    def _is_cut_before(self, data: bytes) -> bool:
        # Not sent: otherwise the server would act on the message of a mover that was killed before it.
        return (not self.is_after and self._trip(data)) or super()._is_cut_before(data)

    def _strand_after(self, data: bytes, client: Any) -> None:
        if self.is_after and self.words and self.words in data:
            # The server acts on it; its answer waits here.
            pause(0.3)
            self._trip(data)
        super()._strand_after(data, client)

    def _trip(self, data: bytes) -> bool:
        if not self.words or self.words not in data or self.act is None:
            return False
        self.words, act = b"", self.act
        act()
        self.has_tripped.set()
        return True


@dataclass
class Pair:
    """Two servers, of which each database has the same name, and proxies: of the mover, of B to A, of the programs."""

    a: LogicalServer
    b: LogicalServer
    name: str
    mover_a: Tripwire
    mover_b: Tripwire
    between: Proxy
    a_url: str
    b_url: str

    @property
    def both(self) -> str:
        """Return the address that programs have, with both hosts."""
        folders = ",".join(quote(str(server.socket), safe="") for server in (self.a, self.b))
        return f"postgresql://postgres@/{self.name}?host={folders}&target_session_attrs=read-write&connect_timeout=2"

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command of `haulier cell move`."""
        settings = {
            "DATABASE_URL": self.mover_a.url,
            "TARGET_DATABASE_URL": self.mover_b.url,
            # By its own way, which can be cut by itself.
            "SOURCE_DATABASE_URL": self.between.url,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "haulier", "cell", "move", *words],
            cwd=ROOT,
            env={**environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command of `haulier cell move` and return what it shows. Raises: CommandFailed."""
        process = self.start(*words, "--json")
        shown, said = process.communicate(timeout=COMMAND_SECONDS)
        if process.returncode != 0:
            raise CommandFailed(said.strip())
        found: dict[str, Any] = json.loads(shown)
        return found

    def until_ready(self, *, within: float = 600.0) -> float:
        """Wait until all tables follow, and return after how many seconds."""
        began = time.monotonic()
        while (shown := self.run("status"))["stage"] != "ready":
            if time.monotonic() - began > within:
                raise CommandFailed(f"not ready: {shown}")
            pause(0.2)
        return time.monotonic() - began


class CommandFailed(RuntimeError):
    """A command of a move has refused; the message is what it said."""


@contextmanager
def servers() -> Iterator[tuple[LogicalServer, LogicalServer]]:
    """Yield two running servers with durable commits."""
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-move-"))
    folder.chmod(0o755)
    try:
        a, b = LogicalServer(folder / "a"), LogicalServer(folder / "b")
        with a, b:
            yield a, b
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def pair(a: LogicalServer, b: LogicalServer, name: str) -> Iterator[Pair]:
    """Yield a pair of new databases: A has the schema, B is empty."""
    urls = [server.dsn.replace("/postgres?", f"/{name}?") for server in (a, b)]
    for server in (a, b):
        _run(server.dsn, f"CREATE DATABASE {name}")
    with closing(own_connection(urls[0])) as conn:
        migrate(conn, retention_days=30)
    with ExitStack() as stack:
        mover_a, mover_b, between = Tripwire(urls[0]), Tripwire(urls[1]), Proxy(urls[0])
        for proxy in (mover_a, mover_b, between):
            proxy.start()
            stack.callback(proxy.close)
        yield Pair(a, b, name, mover_a, mover_b, between, urls[0], urls[1])
    for server, url in ((b, urls[1]), (a, urls[0])):
        forget(server.dsn, url, name)


def forget(server_url: str, url: str, name: str) -> None:
    """Drop a database, with what a move has left in it."""
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(
            "SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %s", [name]
        )
        for (found,) in cursor.fetchall():
            cursor.execute(f"ALTER SUBSCRIPTION {found} DISABLE")
            # On one server the DROP would wait for a copy that is about to begin, and that for the DROP.
            cursor.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
            cursor.execute(f"ALTER SUBSCRIPTION {found} SET (slot_name = NONE)")
            cursor.execute(f"DROP SUBSCRIPTION {found}")
    with closing(connect(server_url)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s", [name])
        cursor.execute("SELECT slot_name FROM pg_replication_slots WHERE database = %s", [name])
        for (found,) in cursor.fetchall():
            with suppress(psycopg2.Error):
                cursor.execute("SELECT pg_drop_replication_slot(%s)", [found])
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _run(url: str, statement: str) -> None:
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute(statement)


@dataclass
class Probe:
    """Tries to write to both sides all the time, by new sessions and by sessions that last. Units: monotonic seconds.

    `writes` has, for each side, when each write that was committed began and ended.
    """

    urls: dict[str, str]
    writes: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Probe:
        for side, url in self.urls.items():
            self.writes[side] = []
            for lasts in (False, True):
                thread = threading.Thread(target=self._try, args=(side, url, lasts), daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _try(self, side: str, url: str, lasts: bool) -> None:
        conn = None
        while not self._stopped.wait(0.01):
            try:
                conn = conn or connect(url)
                with conn.cursor() as cursor:
                    began = time.monotonic()
                    cursor.execute(WRITE)
                    self.writes[side].append((began, time.monotonic()))
                is_good = True
            except psycopg2.Error:
                is_good = False
            if conn is not None and not (lasts and is_good):
                conn.close()
                conn = None

    def both_wrote(self) -> bool:
        """Return whether A was written after B was: then both were open, since A never opens again."""
        opened = min((ended for _, ended in self.writes["b"]), default=float("inf"))
        return any(began > opened for began, _ in self.writes["a"])
