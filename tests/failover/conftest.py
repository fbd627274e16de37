"""A primary and its synchronous standby, from the binaries that every test's server comes from, and real workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from haulier.local.embedded import Server, _account, _binaries, _make_private, _run_as
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import Sql, eventually, sql_on
from tests.local.conftest import descendants
from tests.worker.conftest import ledger, spawn_worker  # noqa: F401

DATABASE = "haulier_failover"


class Pair:
    """Two servers. `dsn` names both, and leads to the one that takes writes."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary, self.standby = primary, standby
        folders = ",".join(quote(str(server.socket), safe="") for server in (primary, standby))
        self.dsn = f"postgresql://postgres@/{DATABASE}?host={folders}&target_session_attrs=read-write&connect_timeout=2"

    def kill_primary(self) -> None:
        """End every process of the primary as a machine that loses its power does."""
        postmaster = int((self.primary.data / "postmaster.pid").read_text().splitlines()[0])
        for pid in (postmaster, *(process.pid for process in descendants(postmaster))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def lose_standby(self) -> None:
        """Have the primary wait for a standby that never answers."""
        with sql_of(self.primary) as sql:
            sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            sql("SELECT pg_reload_conf()")
            eventually(lambda: sql("SHOW synchronous_standby_names") == [("nobody",)])

    def promote(self) -> None:
        """Make the standby the primary, as whoever watches over the two would."""
        with sql_of(self.standby) as sql:
            sql("SELECT pg_promote()")


@contextmanager
def sql_of(server: Server, database: str = "postgres") -> Iterator[Sql]:
    with closing(connect(server.dsn.replace("/postgres?", f"/{database}?"), application_name="haulier test")) as conn:
        yield sql_on(conn)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give a primary and its synchronous standby, with the schema in them.

    What is committed on the primary is on the standby's side too before the client hears of it.
    """
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-pair-"))
    folder.chmod(0o755)
    try:
        with Server(folder / "a", test=True) as primary:
            with sql_of(primary) as sql:
                sql(f"CREATE DATABASE {DATABASE}")
                # The servers of tests have it off; here it is what is tested. A killed process loses nothing that it
                # has written, so that fsync may stay off.
                sql(f"ALTER DATABASE {DATABASE} SET synchronous_commit = on")
            _copy(primary, folder / "b")
            with Server(folder / "b", test=True) as standby:
                with sql_of(primary) as sql:
                    # Only now, so that the standby has not inherited it: promoted, it would wait for one of its own.
                    sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
                    sql("SELECT pg_reload_conf()")
                    in_step = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
                    eventually(lambda: sql(in_step))
                pair = Pair(primary, standby)
                with closing(connect(pair.dsn)) as conn:
                    migrate(conn, retention_days=30)
                yield pair
    finally:
        shutil.rmtree(folder)


def _copy(primary: Server, base: Path) -> None:
    base.mkdir()
    base.chmod(0o711)
    _make_private(base / "data", _account())
    where = ["--host", str(primary.socket), "--username", "postgres", "--pgdata", str(base / "data")]
    how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    program = _binaries(primary.base, _account()) / "pg_basebackup"
    done = subprocess.run([program, *where, *how], capture_output=True, text=True, **_run_as(_account()))
    assert done.returncode == 0, done.stderr
