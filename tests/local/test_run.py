"""`make run` keeps Haulier running, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
import requests

from haulier.local.run import kept_secret
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
def test_a_signal_stops_everything_and_postgres_last(run, how):
    running = run()
    running.says(UP)
    below = descendants(running.popen.pid)

    running.popen.send_signal(how)

    assert running.wait() == 0, running.output
    assert not alive(below)
    assert "stopped" in running.output
    assert "the database is away" not in running.output


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

    running.says("worker ended with exit code 137; starting it again in 1 s")
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
    assert second.output == "haulier: `make run` already runs in this folder: stop it first\n"


def test_an_occupied_port_is_refused_in_one_line_with_another(haulier):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]

        refused = haulier("run", PORT=str(port))

        assert refused.wait() == 1
    assert refused.output.startswith(f"haulier: cannot listen on port {port}: Address already in use. Another: PORT=")
    assert refused.output.endswith(" make run\n")
    assert refused.output.count("\n") == 1


def test_a_wrong_setting_is_refused_in_one_line(run):
    refused = run(WORKER_THREADS="many")

    assert refused.wait() == 1
    assert refused.output.startswith("haulier: WORKER_THREADS='many': must be")
    assert refused.output.count("\n") == 1


def test_with_a_database_url_it_uses_that_database(run, fresh_database):
    running = run(DATABASE_URL=fresh_database)
    running.says(UP)

    assert not programs(running, "bin/postgres")
    with closing(psycopg2.connect(fresh_database)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.worker")
        assert cursor.fetchall() == [(1,)]


def test_clean_removes_what_it_kept(run, haulier):
    running = run()
    running.says(UP)
    folder = Path(running.output.partition("keeps its data in ")[2].splitlines()[0])

    refused = haulier("clean")
    assert refused.wait() == 1
    assert folder.exists()
    running.popen.terminate()
    running.wait()
    cleaned = haulier("clean")

    assert cleaned.wait() == 0, cleaned.output
    assert not folder.exists()


def test_the_secret_for_webhooks_is_kept_to_oneself(tmp_path):
    first = kept_secret(tmp_path / "var/secret")

    assert kept_secret(tmp_path / "var/secret") == first
    assert first.startswith("whsec_")
    assert (tmp_path / "var/secret").stat().st_mode & 0o777 == 0o600
