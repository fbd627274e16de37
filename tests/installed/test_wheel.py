"""Haulier as a package, in a folder whose own modules are called `app` and `worker`, and its version: it ..."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from pathlib import Path
from zipfile import ZipFile

import pytest

from haulier.version import version
from tests.conftest import eventually
from tests.installed.environments import ROOT, Client, Environment, run, running, web_environ
from tests.web import answers


def test_has_every_file_of_the_checkout_and_nothing_else_at_its_top_level(wheel):
    described = f"haulier-{version()}.dist-info/"
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(described)}

    expected = {
        str(Path(place, path.relative_to(ROOT / folder)))
        for folder, place in (("haulier", "haulier"), ("app", "haulier/app"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    needed = {"schema.sql", "grants.sql", "py.typed", "app/gunicorn_settings.py"}
    assert {f"haulier/{name}" for name in needed} <= expected
    assert names == expected


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_runs_the_kinds_of_a_project_that_has_an_app_and_a_worker_of_its_own(
    environment, project, fresh_database, tmp_path_factory
):
    logs = tmp_path_factory.mktemp("logs")
    url, environ = web_environ(fresh_database, logs)
    environ["HAULIER_KINDS"] = "our_kinds"
    assert run([environment.haulier, "migrate"], project, environ).startswith("applied schema version ")
    with ExitStack() as stack:
        web = stack.enter_context(running([environment.haulier, "web"], project, environ, logs / "web.log"))
        worker = stack.enter_context(running([environment.haulier, "worker"], project, environ, logs / "worker.log"))
        eventually(lambda: web.poll() is not None or answers(url))
        client = Client(url)
        jobs = [client.enqueue(kind, name="Ann") for kind in ("greet", "greet_apart")]

        assert client.results(jobs) == [{"greeting": "Hello, Ann!"}] * 2
        assert (web.poll(), worker.poll()) == (None, None)


@pytest.mark.direct("is about processes, and not about the way to the database")
def test_serves_on_while_gunicorn_is_replaced_by_another_at_sigusr2(database, tmp_path):
    url, environ = web_environ(database, tmp_path)
    pid = tmp_path / "pid"
    environ["GUNICORN_CMD_ARGS"] = f"--pid {pid}"

    with running([sys.executable, "-m", "haulier", "web"], ROOT, environ, tmp_path / "web.log") as first:
        eventually(lambda: answers(url))
        first.send_signal(signal.SIGUSR2)
        second = int(eventually(lambda: (new := Path(f"{pid}.2")).exists() and new.read_text()))
    try:
        # It takes the file's name once it has seen that the first is gone.
        eventually(lambda: pid.exists() and int(pid.read_text()) == second)
        served = answers(url)
    finally:
        os.kill(second, signal.SIGTERM)

    assert served
    eventually(lambda: not pid.exists() and not answers(url))


CLIENT = {"click", "requests", "rich"}
EXTRAS = {
    "worker": ("cronsim", "marshmallow", "prometheus-client", "psycopg2-binary", "standardwebhooks", "tzdata"),
}


@pytest.fixture(scope="module")
def alone(wheel, pip, tmp_path_factory) -> Environment:
    """Give an environment with the wheel, without extras."""
    return with_extra(Environment(tmp_path_factory.mktemp("alone") / "venv", pip, with_ours=False), wheel)


def with_extra(environment: Environment, wheel: Path, *extras: str) -> Environment:
    """Install the wheel with these extras and nothing else: pip, which has no index here, sees that all is there."""
    environment.add(*CLIENT, *(name for extra in extras for name in EXTRAS[extra]))
    environment.install(f"{wheel}[{','.join(extras)}]" if extras else str(wheel))
    return environment


def test_says_which_extra_is_missing_if_only_the_client_is_installed(alone, tmp_path):
    environ = {**os.environ, "DATABASE_URL": "postgres://nobody@nowhere/none"}
    refused = {
        command: subprocess.run(
            [alone.haulier, *command.split()], env=environ, capture_output=True, text=True, timeout=60
        )
        for command in ("migrate", "web", "worker", "all", "run", "audit", "schedules apply file.toml")
    }

    for command, done in refused.items():
        extra, name = "server" if command in ("web", "all", "run") else "worker", command.removesuffix(" file.toml")
        assert done.returncode == 1
        assert done.stderr == (
            f"haulier: `haulier {name}` works on the database (DATABASE_URL) and needs the extra `{extra}` (psycopg2 is"
            " missing):"
            f" pip install './vendor/haulier-{version()}-py3-none-any.whl[{extra}]'\n"
        )
    run([alone.haulier, "init", "here"], tmp_path, dict(os.environ))
    assert (tmp_path / "here" / "kinds.py").exists()


def test_is_a_client_if_installed_without_extras(alone, server, tmp_path):
    payload = '{"text": "The ship came in. It was late. Nobody minded."}'
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    login = [alone.haulier, "login", "--url", server.url]
    subprocess.run(login, env=environ, input="k" * 40, text=True, timeout=60, check=True)

    job = run([alone.haulier, "enqueue", "summarize_text", payload], tmp_path, environ).strip()
    listed = run([alone.haulier, "jobs", "list"], tmp_path, environ)
    program = f"from haulier import Client; print(Client('{server.url}').get('{job}')['status'])"
    read = run([alone.python, "-c", program], tmp_path, environ)
    cancelled = run([alone.haulier, "--color", "always", "jobs", "cancel", job, "--json"], tmp_path, environ)

    assert listed.splitlines()[1].startswith(job)
    assert read == "queued\n"
    assert json.loads(cancelled) == {"status": "cancelled", "job_id": job}


def test_worker_leaves_out_the_kind_whose_library_is_missing(wheel, pip, server, database, tmp_path):
    made = with_extra(Environment(tmp_path / "venv", pip, with_ours=False), wheel, "worker")
    _, environ = web_environ(database, tmp_path)
    refused = subprocess.run([made.haulier, "web"], env=environ, capture_output=True, text=True, timeout=60)
    client = Client(server.url)
    log = tmp_path / "worker.log"

    assert "needs the extra `server` (gunicorn is missing)" in refused.stderr
    assert run([made.haulier, "migrate"], tmp_path, environ)
    with running([made.haulier, "worker"], tmp_path, environ, log):
        image, text = (
            client.session.post(f"{server.url}/jobs", json={"kind": kind, "payload": payload}, timeout=10).json()["id"]
            for kind, payload in (
                ("resize_image", {"source": "data:,x", "width": 5}),
                ("summarize_text", {"text": "Ann came."}),
            )
        )
        assert client.results([text])
        given_back = eventually(lambda: (job := client.get(f"/jobs/{image}"))["run_at"] > job["created_at"] and job)

    assert (given_back["status"], given_back["attempts"]) == ("queued", 0)
    [warning] = [line for line in log.read_text().splitlines() if "left to other workers" in line]
    assert warning.endswith(
        "resize_image jobs are left to other workers, because PIL is not installed:"
        f" pip install './vendor/haulier-{version()}-py3-none-any.whl[images]'"
    )


def asked_for(requirements: str) -> set[str]:
    """Return what the pins are there for, by setup.cfg and not by one another."""
    pins = re.split(r"^(?=\S+==)", (ROOT / requirements).read_text(), flags=re.MULTILINE)
    return {each.partition("==")[0] for each in pins if "haulier (setup.cfg)" in each}


def test_needs_little_as_a_client_and_the_pinned_packages_as_a_server(wheel):
    with ZipFile(wheel) as archive:
        about = email.message_from_bytes(archive.read(f"haulier-{version()}.dist-info/METADATA"))
    needed = about.get_all("Requires-Dist", [])

    names: dict[str, set[str]] = {}
    for each in needed:
        extra = re.search(r"""extra == ["'](\w+)["']""", each)
        names.setdefault(extra[1] if extra else "", set()).add(re.match(r"[\w-]+", each)[0].lower())
    assert names[""] == CLIENT
    assert names.keys() == {"", "worker", "server", "images", "local", "testing", "dev"}
    assert len(names["worker"]) <= 6
    assert names["worker"] < names["server"]
    assert names["testing"] == names["worker"] | names["local"]
    assert names[""] | names["server"] | names["images"] == asked_for("requirements.txt")
    assert set.union(*names.values()) == asked_for("requirements-dev.txt")


def test_is_built_the_same_by_whomever_and_whenever(dist, tmp_path):
    copy = tmp_path / "elsewhere"
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(copy, filter="data")
    [unpacked] = copy.iterdir()
    shutil.copytree(ROOT / "tools", unpacked / "tools")
    (unpacked / "haulier" / "logs.py").chmod(0o600)
    environ = {**os.environ, "TZ": "Asia/Kathmandu"}

    said = run(["sh", "-c", f"umask 077; '{sys.executable}' tools/dist.py '{tmp_path}/again'"], unpacked, environ)

    assert said.startswith(f"haulier {version()}: ")
    assert {each.name for each in dist.iterdir()} == {
        f"haulier-{version()}-py3-none-any.whl",
        f"haulier-{version()}.tar.gz",
    }
    for each in dist.iterdir():
        assert each.read_bytes() == (tmp_path / "again" / each.name).read_bytes()


PLACES = {
    "haulier --version": 1,
    "haulier version": 1,
    "haulier version --json": 1,
    "GET /health": 1,
    "the OpenAPI document": 1,
    # On wide screens it is beside the page, on narrow ones in a menu.
    "the foot of the dashboard": 2,
    "the row of each worker": 2,
    "the log of web": 1,
    # One line of the worker's parent, and one of each of its two processes.
    "the log of worker": 3,
}


@pytest.mark.direct("is about what is shown, and not about the way to the database")
def test_is_the_same_everywhere(fresh_database, tmp_path):
    command = [sys.executable, "-m", "haulier"]
    url, environ = web_environ(fresh_database, tmp_path)
    environ["WORKER_PROCESSES"] = "2"
    run([*command, "migrate"], ROOT, environ)
    with ExitStack() as stack:
        stack.enter_context(running([*command, "web"], ROOT, environ, tmp_path / "web.log"))
        stack.enter_context(running([*command, "worker"], ROOT, environ, tmp_path / "worker.log"))
        eventually(lambda: answers(url))
        client = Client(url)

        def introduced() -> list[str]:
            known = [worker["version"] for worker in client.get("/workers")]
            return known if len(known) == 2 and None not in known else []

        shown = {
            "haulier --version": run([*command, "--version"], ROOT, environ).split()[1:],
            "haulier version": run([*command, "version"], ROOT, environ).split()[1:],
            "haulier version --json": [json.loads(run([*command, "version", "--json"], ROOT, environ))["version"]],
            "GET /health": [client.get("/health")["version"]],
            "the OpenAPI document": [client.get("/api-docs/openapi.json")["info"]["version"]],
            "the row of each worker": eventually(introduced),
        }
        page = client.session.get(f"{url}/ui", timeout=10).text
    shown["the foot of the dashboard"] = re.findall(r"<footer>.*?Haulier (\S+) .*?</footer>", page, flags=re.DOTALL)
    shown["the log of web"] = re.findall(r"Haulier ([^\s,]+), with up to", (tmp_path / "web.log").read_text())
    shown["the log of worker"] = re.findall(r"Haulier ([^\s,:]+)[,:] ", (tmp_path / "worker.log").read_text())

    assert shown == {place: [version()] * times for place, times in PLACES.items()}
