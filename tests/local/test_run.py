"""`make run`, psql on its database, and `make demo`, which shows four real jobs: they leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
import requests
from PIL import Image

from haulier.local import psql
from haulier.local.embedded import data_folder
from haulier.local.receivers import NotReceived, Receivers, SmtpSink, WebhookReceiver
from haulier.local.run import kept_secret, new_secret
from haulier.local.supervisor import NotStarted
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from tests.conftest import eventually, sql_on
from tests.local.conftest import ROOT, UP, Haulier, Process, alive, commands_in, descendants
from tests.repositories import Repository


@pytest.fixture
def run(haulier, free_port):
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


def test_it_says_where_the_database_and_the_pages_are(shared, eventually):
    said = dict(re.findall(r"(DATABASE_URL|dashboard|docs)[ =](\S+)", shared.running.output))

    with closing(psycopg2.connect(said["DATABASE_URL"])) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.worker")
        assert cursor.fetchone() > (0,)
    assert [said["dashboard"], said["docs"]] == [f"{shared.url}/ui", f"{shared.url}/docs"]
    assert "Overview" in requests.get(said["dashboard"], timeout=10).text
    assert requests.get(said["docs"], timeout=10).ok


def test_git_takes_nothing_of_its_folder(shared):
    repository = Repository(shared.running.output_file.parent)
    (repository.folder / "var/kept").write_text("secret")

    repository.git("add", "haulier/cli", "var/..")

    staged = repository.git("diff", "--cached", "--name-only").splitlines()
    assert "haulier/cli/init.py" in staged
    assert [name for name in staged if name.startswith("var")] == []


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
    running = run(DATABASE_URL=re.sub(r"://(\w+)@", r"://\1:hush@", fresh_database))
    running.says(UP)

    assert not programs(running, "bin/postgres")
    name = psycopg2.extensions.parse_dsn(fresh_database)["dbname"]
    assert f" dbname={name}" in running.output.partition("DATABASE_URL is the one that you have set: ")[2]
    assert "hush" not in running.output
    with closing(psycopg2.connect(fresh_database)) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM haulier.worker")
        assert cursor.fetchall() == [(1,)]


def test_the_secret_for_webhooks_is_kept_to_oneself(tmp_path):
    first = kept_secret(tmp_path / "var/secret")

    assert kept_secret(tmp_path / "var/secret") == first
    assert first.startswith("whsec_")
    assert (tmp_path / "var/secret").stat().st_mode & 0o777 == 0o600


def make_psql(checkout: Path, statement: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_psql(["haulier.local", "psql"], checkout, statement, **environ)


def run_psql(
    arguments: list[str], folder: Path, statement: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
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
        "haulier: `make run` does not run here: start it in this folder, in another terminal, or set DATABASE_URL\n"
    )


def test_haulier_psql_takes_arguments_and_leaves_no_trace_where_nothing_runs(shared, tmp_path):
    command = ["haulier", "psql", "--", "-At", "-c", "SELECT count(*) > 0 FROM haulier.worker"]

    there = run_psql(command, shared.running.output_file.parent)
    nowhere = run_psql(command, tmp_path, PYTHONPATH=str(ROOT))

    assert there.stdout == "t\n", there.stderr
    assert (nowhere.returncode, "`haulier run` does not run here" in nowhere.stderr) == (1, True)
    assert (list(tmp_path.iterdir()), data_folder(tmp_path).exists()) == ([], False)


def test_psql_gets_the_password_where_no_other_user_sees_it(tmp_path):
    (tmp_path / "psql").write_text('#!/bin/sh\necho "$@, $PGPASSWORD"\n')
    (tmp_path / "psql").chmod(0o755)
    url = "postgres://ann:hush%20hush@db.example.com:5433/shop?sslmode=require"

    done = run_psql(["haulier", "psql"], ROOT, PATH=str(tmp_path), DATABASE_URL=url)

    assert done.stdout == "user=ann dbname=shop host=db.example.com port=5433 sslmode=require, hush hush\n"


def test_psql_says_what_to_do_if_there_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("haulier.local.embedded.importlib.util.find_spec", lambda name: None)

    with pytest.raises(NotStarted, match="install your system's PostgreSQL client"):
        psql.client()


KINDS = ("resize_image", "summarize_text", "send_email", "webhook_delivery")


@pytest.fixture
def demo(haulier, free_port):
    return lambda **environ: haulier("demo", **{"PORT": str(free_port), **environ})


def test_once_runs_one_job_of_each_kind_and_leaves_real_results(demo, free_port):
    shown = demo(ONCE="1")

    assert shown.wait(90) == 0, shown.output
    for kind in KINDS:
        assert f"\n{kind}: succeeded\n" in shown.output
    work = shown.output_file.parent / "var/demo"
    with Image.open(next(work.glob("storage/*.webp"))) as image:
        assert image.size == (640, 400)
    assert b"Subject: Your picture is ready" in next(work.glob("mail/*.eml")).read_bytes()
    assert "the receiver has verified the signature of picture.ready" in shown.output
    assert f"http://127.0.0.1:{free_port}/docs" in shown.output
    assert "\x1b" not in shown.output


def test_it_stays_up_with_jobs_to_look_at_until_it_is_stopped(demo, free_port, eventually):
    shown = demo()
    shown.says("Ctrl-C stops everything")
    below = descendants(shown.popen.pid)
    url = f"http://127.0.0.1:{free_port}"

    overview = requests.get(f"{url}/ui", timeout=5)
    queues = {"hooks", "images", "mail"}
    shown_there = eventually(
        lambda: {each for each in queues if requests.get(f"{url}/jobs?queue={each}", timeout=5).json()} == queues
    )
    shown.popen.send_signal(signal.SIGINT)

    assert (overview.status_code, shown_there) == (200, True)
    assert "<h1>Overview</h1>" in overview.text
    assert f"haulier: dashboard at {url}/ui; " in shown.output.splitlines()[1]

    assert shown.wait() == 0, shown.output
    assert not alive(below)


@pytest.mark.slow
def test_an_occupied_port_is_passed_over_and_said(demo):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]

        shown = demo(PORT=str(port), ONCE="1")

        assert shown.wait(90) == 0, shown.output
    assert f"port {port} is in use: using " in shown.output


@pytest.mark.slow
def test_with_a_database_url_it_makes_and_drops_a_database_on_that_server(demo, postgres):
    shown = demo(ONCE="1", DATABASE_URL=url_of(postgres, "there_is_no_such_database"))

    assert shown.wait(90) == 0, shown.output
    with closing(connect(url_of(postgres, "template1"))) as conn:
        assert sql_on(conn)("SELECT 1 FROM pg_database WHERE datname = 'haulier_demo'") == []


def test_a_role_without_createdb_gets_one_line(demo, postgres):
    name = f"haulier_test_{uuid.uuid4().hex[:12]}"
    with closing(connect(url_of(postgres, "template1"))) as conn, conn.cursor() as cursor:
        try:
            cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        except psycopg2.errors.InsufficientPrivilege:
            pytest.skip("needs a role that may create roles")
        try:
            refused = demo(ONCE="1", DATABASE_URL=as_role(postgres, name))

            assert refused.wait(30) == 1
        finally:
            cursor.execute(f"DROP ROLE {name}")
    assert "CREATEDB" in refused.output
    assert refused.output.count("\n") == 1


def as_role(server_url: str, name: str) -> str:
    scheme, _, rest = server_url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{name}:secret@{authority.rpartition('@')[2]}{slash}{path}"


@pytest.fixture
def receivers(tmp_path):
    with Receivers(SmtpSink(tmp_path), WebhookReceiver(new_secret())) as receivers:
        yield receivers


def test_the_receiver_refuses_a_webhook_without_a_signature_that_holds(receivers):
    headers = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}

    answer = requests.post(f"http://127.0.0.1:{receivers.webhooks.port}", data=b"{}", headers=headers, timeout=5)

    assert answer.status_code == 401
    with pytest.raises(NotReceived):
        receivers.webhooks.find("1")
