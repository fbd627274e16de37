"""A primary and its synchronous standby, from the binaries that every test's server comes from."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from psycopg2.extensions import connection as Connection

from haulier.local.embedded import Server, _account, _binaries, _make_private, _run_as
from haulier.postgres.connection import connect
from tests.conftest import eventually
from tests.local.conftest import descendants

DATABASE = "haulier_failover"


class Pair:
    """Two servers. `dsn` names both, and leads to the one that takes writes."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary, self.standby = primary, standby
        folders = ",".join(quote(str(server.socket), safe="") for server in (primary, standby))
        self.dsn = f"postgresql://postgres@/{DATABASE}?host={folders}&target_session_attrs=read-write&connect_timeout=2"

    def kill_primary(self) -> None:
        """End every process of the primary as a machine that loses its power does."""
        [postmaster, *_] = (self.primary.data / "postmaster.pid").read_text().splitlines()
        for pid in (int(postmaster), *(process.pid for process in descendants(int(postmaster)))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def lose_standby(self) -> None:
        """Have the primary wait for a standby that never answers."""
        with _on(self.primary) as conn, conn.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            cursor.execute("SELECT pg_reload_conf()")
            eventually(lambda: cursor.execute("SHOW synchronous_standby_names") or cursor.fetchone() == ("nobody",))

    def promote(self) -> None:
        """Make the standby the primary, as whoever watches over the two would."""
        with _on(self.standby) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT pg_promote()")


@contextmanager
def _on(server: Server, database: str = "postgres") -> Iterator[Connection]:
    with closing(connect(server.dsn.replace("/postgres?", f"/{database}?"), application_name="haulier test")) as conn:
        yield conn


@contextmanager
def pair_in(folder: Path) -> Iterator[Pair]:
    """Run the two; what is committed on the primary is on the standby's side too before the client hears of it."""
    with Server(folder / "a", test=True) as primary:
        with _on(primary) as conn, conn.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
            # The servers of tests have it off; here it is what is tested. A killed process loses nothing that it has
            # written, so that fsync may stay off.
            cursor.execute(f"ALTER DATABASE {DATABASE} SET synchronous_commit = on")
        _copy(primary, folder / "b")
        with Server(folder / "b", test=True) as standby:
            with _on(primary) as conn, conn.cursor() as cursor:
                # Only now, so that the standby has not inherited it: once promoted it would wait for one of its own.
                cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                cursor.execute("SELECT pg_reload_conf()")
                in_step = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
                eventually(lambda: cursor.execute(in_step) or cursor.rowcount)
            yield Pair(primary, standby)


def _copy(primary: Server, base: Path) -> None:
    base.mkdir()
    base.chmod(0o711)
    _make_private(base / "data", _account())
    where = ["--host", str(primary.socket), "--username", "postgres", "--pgdata", str(base / "data")]
    how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    program = _binaries(primary.base, _account()) / "pg_basebackup"
    done = subprocess.run([program, *where, *how], capture_output=True, text=True, **_run_as(_account()))
    assert done.returncode == 0, done.stderr
