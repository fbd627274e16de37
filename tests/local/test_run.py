"""`make run` keeps Haulier running, and leaves nothing behind however it ends; `make psql` opens its database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
import requests

from haulier.local import psql
from haulier.local.run import kept_secret
from haulier.local.supervisor import NotStarted
from tests.conftest import eventually
from tests.local.conftest import UP, Haulier, Process, alive, commands_in, descendants


@pytest.fixture
def run(haulier, free_port):
    """Give a function that starts `make run` on a free port."""
    return lambda **environ: haulier("run", PORT=str(free_port), **environ)


@dataclass(frozen=True)
class Shared:
    """A `make run` that several tests use. Start starts another one in the same folder."""

    running: Haulier
    url: str
    start: Callable[[], Haulier]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, fill) -> Iterator[Shared]:
    """Give one whose end is no test's concern."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with commands_in(tmp_path_factory.mktemp("run") / "checkout", fill) as start:
        running = start("run", PORT=str(port))
        running.says(UP)
        yield Shared(running, f"http://127.0.0.1:{port}", lambda: start("run", PORT=str(port)))


def programs(running: Haulier, text: str) -> list[Process]:
    """Return its processes that have this in their command line, but for their guards."""
    return [each for each in descendants(running.popen.pid) if text in each.command and "guard.py" not in each.command]


def test_it_runs_jobs_with_settings_that_suit_ones_own_machine(shared, eventually):
    url = shared.url
    mail = {"to": "ann@example.com", "subject": "Hello", "body": "It works."}
    job = requests.post(f"{url}/jobs", json={"kind": "send_email", "payload": mail}, timeout=5).json()

    done = eventually(lambda: ended(f"{url}/jobs/{job['id']}"))
    assert (done["status"], done["last_error"]) == ("succeeded", None)
    assert Path(done["result"]["location"].removeprefix("file://")).exists()
    shared.running.says(f"job_id={job['id']}")


def ended(url: str) -> dict | None:
    job = requests.get(url, timeout=5).json()
    return job if job["status"] not in ("queued", "running", "retrying") else None


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_stops_everything_and_postgres_last_and_then_clean_removes_it(run, haulier, how):
    running = run()
    running.says(UP)
    below = descendants(running.popen.pid)
    folder = Path(running.output.partition("keeps its data in ")[2].splitlines()[0])
    assert haulier("clean").wait() == 1
    assert folder.exists()

    running.popen.send_signal(how)

    assert running.wait() == 0, running.output
    assert not alive(below)
    assert "stopped" in running.output
    assert "the database is away" not in running.output
    cleaned = haulier("clean")
    assert cleaned.wait() == 0, cleaned.output
    assert not folder.exists()


def test_kill_9_stops_everything(run):
    running = run()
    running.says(UP)
    below = descendants(running.popen.pid)
    assert programs(running, "bin/postgres")

    running.popen.kill()
    running.wait()

    eventually(lambda: not alive(below))


def test_a_process_that_dies_is_started_again(shared):
    running = shared.running
    [first] = programs(running, "haulier worker")

    os.kill(first.pid, signal.SIGKILL)

    running.says("worker ended with exit code 137; restarting in 1 s")
    assert eventually(lambda: programs(running, "haulier worker")) != [first]


def test_postgres_is_started_again_too(shared):
    running = shared.running
    [postgres] = programs(running, "bin/postgres")

    os.kill(postgres.pid, signal.SIGKILL)

    running.says("postgres ended with exit code 137")
    eventually(lambda: requests.get(f"{shared.url}/health", timeout=10).ok)


def test_a_second_one_in_the_same_folder_is_refused_in_one_line(shared):
    second = shared.start()

    assert second.wait() == 1
    assert second.output == "haulier: `make run` is already running in this folder: stop it first\n"


def test_a_wrong_setting_and_an_occupied_port_are_refused_in_one_line(haulier):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        # One after the other: a folder has one at a time.
        wrong = haulier("run", WORKER_THREADS="many")
        assert wrong.wait() == 1
        taken = haulier("run", PORT=str(port))
        assert taken.wait() == 1

    assert wrong.output.startswith("haulier: WORKER_THREADS='many': must be")
    assert taken.output.startswith(
        f"haulier: cannot listen on port {port}: Address already in use. To use another port: PORT="
    )
    assert taken.output.endswith(" make run\n")
    assert [refused.output.count("\n") for refused in (wrong, taken)] == [1, 1]


def test_with_a_database_url_it_uses_that_database(run, fresh_database):
    running = run(DATABASE_URL=fresh_database)
    running.says(UP)

    assert not programs(running, "bin/postgres")
    with closing(psycopg2.connect(fresh_database)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.worker")
        assert cursor.fetchall() == [(1,)]


def test_the_secret_for_webhooks_is_kept_to_oneself(tmp_path):
    first = kept_secret(tmp_path / "var/secret")

    assert kept_secret(tmp_path / "var/secret") == first
    assert first.startswith("whsec_")
    assert (tmp_path / "var/secret").stat().st_mode & 0o777 == 0o600


def make_psql(checkout: Path, statement: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "haulier.local", "psql"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], **environ},
        input=statement,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(os.environ["PATH"], id="the machine's psql", marks=pytest.mark.slow),
        pytest.param("/nowhere", id="the embedded one"),
    ],
)
def test_psql_opens_the_database_of_make_run(shared, path):
    statement = "SELECT 'workers: ' || (count(*) > 0) FROM haulier.worker"

    done = make_psql(shared.running.output_file.parent, statement, PATH=path)

    assert "workers: true" in done.stdout, done.stderr


def test_psql_opens_the_database_that_is_set_or_says_what_to_do(haulier, tmp_path, database):
    checkout = tmp_path / "checkout"
    done = make_psql(checkout, "SELECT 'version ' || version FROM haulier.schema_version", DATABASE_URL=database)
    none = make_psql(checkout, "SELECT 1")

    assert "version " in done.stdout, done.stderr
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == (
        "haulier: no PostgreSQL of `make run` is running: start `make run` in another terminal, or set DATABASE_URL\n"
    )


def test_psql_says_what_to_do_if_there_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("haulier.local.embedded.importlib.util.find_spec", lambda name: None)

    with pytest.raises(NotStarted, match="install the PostgreSQL client"):
        psql.client()
