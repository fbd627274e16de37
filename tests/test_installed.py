"""Haulier as a package, in a folder whose own modules are called `app` and `worker`: it ..."""

from __future__ import annotations

import email
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import requests

import haulier
from tests.conftest import eventually
from tests.web import answers

ROOT = Path(__file__).parents[1]
# What a checkout builds from.
SOURCES = (
    *("haulier", "app", "tools", "schema.sql", "grants.sql"),
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"),
)
OLDER = "0.0.9"
# Whatever imports one of these, or reads it, stops with this.
THEIRS = "raise SystemExit('this is not of Haulier')\n"
KINDS = """
import os
from haulier.kinds import JobContext, PayloadSchema, kind
from marshmallow import fields


class Greeting(PayloadSchema):
    name = fields.String(required=True)


@kind("greet", schema=Greeting, timeout=30)
def greet(context: JobContext, payload: dict) -> dict:
    return {"greeting": f"Hello, {payload['name']}!"}


@kind("greet_apart", schema=Greeting, timeout=30, isolated=True)
def greet_apart(context: JobContext, payload: dict) -> dict:
    return greet(context, payload)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder that `make dist` fills."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, str(ROOT / "tools" / "dist.py"), str(folder)], folder, dict(os.environ))
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Give the wheel."""
    [built] = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def older_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel of a version before. It is this one under another number: there is no history where tests run."""
    copy = tmp_path_factory.mktemp("older")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    (copy / "haulier" / "__init__.py").write_text(f'"""Haulier."""\n\n__version__ = "{OLDER}"\n')
    assert run([sys.executable, "tools/dist.py"], copy, dict(os.environ)).startswith(f"haulier {OLDER}: ")
    [built] = (copy / "dist").glob("*.whl")
    return built


class Environment:
    """A virtual environment. Shape: with_ours has what is installed where these tests run, Haulier aside."""

    def __init__(self, folder: Path, *, with_ours: bool) -> None:
        venv.create(folder, with_pip=False)
        self.python, self.haulier = str(folder / "bin" / "python"), str(folder / "bin" / "haulier")
        if with_ours:
            packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
            ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
            (packages / "of_these_tests.pth").write_text("\n".join(ours))
        self.folder = folder

    def install(self, *what: str) -> str:
        """Install with the pip of the repository, without an index, and return what it says."""
        [pip] = (ROOT / "tools" / "vendor").glob("pip-*.whl")
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", *what]
        environ = {**os.environ, "PYTHONPATH": str(pip)}
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Give an environment with what Haulier needs, and without it."""
    return Environment(tmp_path_factory.mktemp("installed"), with_ours=True)


@pytest.fixture
def installed(environment: Environment, wheel: Path) -> Path:
    """Give the command `haulier` of that environment with the wheel in it."""
    environment.install("--no-deps", "--force-reinstall", str(wheel))
    return Path(environment.haulier)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with kinds, and modules of the names that are at the top of ours."""
    (tmp_path / "app").mkdir()
    for name in ("app/__init__.py", "worker.py", "gunicorn.conf.py"):
        (tmp_path / name).write_text(THEIRS)
    (tmp_path / "our_kinds.py").write_text(KINDS)
    return tmp_path


def run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """Return what the command says, once it has ended well."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_has_every_file_of_the_checkout_and_nothing_else_at_its_top_level(wheel):
    described = f"haulier-{haulier.__version__}.dist-info/"
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


@contextmanager
def running(command: list[str], folder: Path, environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process, and see that it stops when it is told to."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        print(f"--- {log.name}\n{log.read_text()[-6000:]}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0


def web_environ(dsn: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the URL of an API that is given this environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": dsn,
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "WORKER_METRICS_PORT": "0",
        "TMPDIR": str(folder),
    }
    return f"http://127.0.0.1:{port}", environ


def outcomes(command: list[str], folder: Path, dsn: str, logs: Path, **environ: str) -> list[object]:
    """Return the results of a job of each of the project's kinds, from an empty database on."""
    url, given = web_environ(dsn, logs)
    environ = {**given, "HAULIER_KINDS": "our_kinds", **environ}
    assert run([*command, "migrate"], folder, environ).startswith("applied schema version ")
    with ExitStack() as stack, requests.Session() as session:
        session.trust_env = False
        web = stack.enter_context(running([*command, "web"], folder, environ, logs / "web.log"))
        worker = stack.enter_context(running([*command, "worker"], folder, environ, logs / "worker.log"))
        eventually(lambda: web.poll() is not None or answers(url), within=20)

        jobs = [
            session.post(f"{url}/jobs", json={"kind": kind, "payload": {"name": "Ann"}}, timeout=10).json()
            for kind in ("greet", "greet_apart")
        ]

        def results() -> list[object] | None:
            assert (web.poll(), worker.poll()) == (None, None)
            found = [session.get(f"{url}/jobs/{job['id']}", timeout=10).json() for job in jobs]
            return [job["result"] for job in found] if all(job["finished_at"] for job in found) else None

        return eventually(results, within=20)


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_runs_the_kinds_of_a_project_that_has_an_app_and_a_worker_of_its_own(
    installed, project, fresh_database, tmp_path_factory
):
    logs = tmp_path_factory.mktemp("logs")

    found = outcomes([str(installed)], project, fresh_database, logs)

    assert found == [{"greeting": "Hello, Ann!"}] * 2


@pytest.mark.direct("is about what is there to run, and not about the way to the database")
def test_has_the_same_commands_in_a_checkout(project, fresh_database, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    kinds = tmp_path_factory.mktemp("kinds")
    shutil.copy(project / "our_kinds.py", kinds)

    found = outcomes([sys.executable, "-m", "haulier"], ROOT, fresh_database, logs, PYTHONPATH=str(kinds))

    assert found == [{"greeting": "Hello, Ann!"}] * 2


@pytest.mark.direct("is about processes, and not about the way to the database")
def test_serves_on_while_gunicorn_is_replaced_by_another_at_sigusr2(database, tmp_path):
    url, environ = web_environ(database, tmp_path)
    pid = tmp_path / "pid"
    environ["GUNICORN_CMD_ARGS"] = f"--pid {pid}"

    with running([sys.executable, "-m", "haulier", "web"], ROOT, environ, tmp_path / "web.log") as first:
        eventually(lambda: answers(url), within=20)
        first.send_signal(signal.SIGUSR2)
        second = int(eventually(lambda: (new := Path(f"{pid}.2")).exists() and new.read_text(), within=20))
    try:
        # It takes the file's name once it has seen that the first is gone.
        eventually(lambda: pid.exists() and int(pid.read_text()) == second, within=20)
        served = answers(url)
    finally:
        os.kill(second, signal.SIGTERM)

    assert served
    eventually(lambda: not pid.exists() and not answers(url), within=20)


# A repository of a team's own ---------------------------------------------------------------------------------------

OWN_KIND = """
from marshmallow import fields

from app.greetings import greeting
from haulier.kinds import JobContext, PayloadSchema, kind


class Greeting(PayloadSchema):
    name = fields.String(required=True)


@kind("greet", schema=Greeting, timeout=30)
def greet(context: JobContext, payload: dict) -> dict:
    return {"greeting": greeting(payload["name"])}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel of a library of the team's."""
    path = tmp_path_factory.mktemp("library") / "teamlib-1.0-py3-none-any.whl"
    about = "teamlib-1.0.dist-info"
    with ZipFile(path, "w") as archive:
        archive.writestr("teamlib.py", "def polite(text):\n    return f'{text}, if you please'\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: teamlib\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@dataclass
class Team:
    """A repository of a team's own, and the environment that it is deployed to."""

    folder: Path
    environment: Environment
    wheels: list[str]

    def deploy(self) -> None:
        """Install its requirements, as a platform does."""
        links = [word for wheel in self.wheels for word in ("--find-links", wheel)]
        said = self.environment.install(*links, "--requirement", str(self.folder / "requirements.txt"))
        assert "does not provide the extra" not in said

    def requires(self, version: str) -> None:
        """Have another version of Haulier in the requirements."""
        path = self.folder / "requirements.txt"
        path.write_text(re.sub(r"haulier\[server\]==.*", f"haulier[server]=={version}", path.read_text()))

    def says(self, environ: dict[str, str], *command: str) -> str:
        """Return what a command of the environment says in the repository, once it has ended well."""
        return run([self.environment.python, *command], self.folder, environ)

    def commands(self) -> dict[str, str]:
        """Return what the Procfile says."""
        lines = (self.folder / "Procfile").read_text().splitlines()
        return dict(line.split(": ", 1) for line in lines)

    @contextmanager
    def running(self, environ: dict[str, str], logs: Path, *names: str) -> Iterator[None]:
        """Run the release, and then these of the Procfile, or a command of `haulier`, until left."""
        path = f"{self.environment.folder / 'bin'}:{os.environ['PATH']}"
        environ = {**environ, "PATH": path, "HAULIER_KINDS": "kinds"}
        procfile = self.commands()
        run(["sh", "-c", procfile["release"]], self.folder, environ)
        with ExitStack() as stack:
            for name in names:
                command = ["sh", "-c", procfile.get(name, f"exec haulier {name}")]
                stack.enter_context(running(command, self.folder, environ, logs / f"{name}.log"))
            yield


@pytest.fixture
def team(environment: Environment, wheel: Path, older_wheel: Path, library: Path, tmp_path: Path) -> Team:
    """Give what `haulier init` began, with a package `app`, a library of their own, and a kind that uses both."""
    environment.install("--no-deps", "--force-reinstall", str(wheel))
    folder = tmp_path / "repository"
    wheels = [str(each.parent) for each in (wheel, older_wheel, library)]
    run([environment.haulier, "init", str(folder)], tmp_path, dict(os.environ))
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "greetings.py").write_text(
        "from teamlib import polite\n\n\ndef greeting(name):\n    return polite(f'Good morning, {name}')\n"
    )
    (folder / "kinds.py").write_text(OWN_KIND)
    with (folder / "requirements.txt").open("a") as file:
        file.write("teamlib==1.0\n")
    return Team(folder, environment, wheels)


class Client:
    """Somebody who enqueues over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def enqueue(self, name: str) -> str:
        """Return the id of a job of the team's own kind."""
        job = requests.post(f"{self.url}/jobs", json={"kind": "greet", "payload": {"name": name}}, timeout=10).json()
        return str(job["id"])

    def job(self, job_id: str) -> Any:
        """Return the job."""
        return requests.get(f"{self.url}/jobs/{job_id}", timeout=10).json()

    def greeted(self, job_ids: list[str]) -> list[object]:
        """Return the results of these jobs, once all have ended."""
        eventually(lambda: all(self.job(each)["finished_at"] for each in job_ids), within=20)
        return [self.job(each)["result"] for each in job_ids]


MORNING = {"greeting": "Good morning, Ann, if you please"}


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_runs_a_kind_of_a_repository_that_init_began_on_one_dyno(team, fresh_database, tmp_path):
    url, environ = web_environ(fresh_database, tmp_path)
    client = Client(url)
    team.deploy()

    with team.running(environ, tmp_path, "all"):
        eventually(lambda: answers(url), within=20)
        assert client.greeted([client.enqueue("Ann")]) == [MORNING]
        assert requests.get(f"{url}/health", timeout=10).json() == {"status": "ok"}


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_upgrades_by_the_procfile_and_rolls_back_and_loses_nothing(team, fresh_database, tmp_path):
    url, environ = web_environ(fresh_database, tmp_path)
    client = Client(url)
    jobs: list[str] = []
    versions = []

    for version in (OLDER, haulier.__version__, OLDER):
        team.requires(version)
        team.deploy()
        versions.append(team.says(environ, "-m", "haulier", "--version"))
        with team.running(environ, tmp_path, "web", "worker"):
            eventually(lambda: answers(url), within=20)
            jobs.append(client.enqueue("Ann"))
            assert client.greeted(jobs) == [MORNING] * len(jobs)
        with team.running(environ, tmp_path, "web"):
            eventually(lambda: answers(url), within=20)
            # For the next one to run.
            jobs.append(client.enqueue("Ann"))

    with team.running(environ, tmp_path, "all"):
        eventually(lambda: answers(url), within=20)
        assert client.greeted(jobs) == [MORNING] * 6
        assert {client.job(each)["attempts"] for each in jobs} == {1}
    assert versions == [f"haulier {OLDER}\n", f"haulier {haulier.__version__}\n", f"haulier {OLDER}\n"]


def test_begins_a_repository_whose_tests_pass_and_leaves_what_is_there(installed, environment, tmp_path):
    (tmp_path / "requirements.txt").write_text("django\n")
    (tmp_path / "Procfile").write_text("web: gunicorn shop.wsgi\n")

    said = run([str(installed), "init"], tmp_path, dict(os.environ))
    again = run([str(installed), "init", "."], tmp_path, dict(os.environ))

    requirement = f"haulier[server]=={haulier.__version__}"
    written = ["kinds.py", "test_kinds.py", ".env.example", ".gitignore"]
    assert [line.split(maxsplit=1) for line in said.splitlines()[:6]] == [
        ["left", "Procfile"],
        *(["wrote", name] for name in written),
        ["left", f"requirements.txt: add the line {requirement}"],
    ]
    assert re.findall(r"^[0-9]\.", said, flags=re.MULTILINE) == ["1.", "2.", "3."]
    assert "wrote" not in again
    assert (tmp_path / "requirements.txt").read_text() == "django\n"
    assert (tmp_path / "Procfile").read_text() == "web: gunicorn shop.wsgi\n"
    environ = {"PATH": os.environ["PATH"]}
    assert "2 passed" in run([environment.python, "-m", "pytest", "-p", "no:cacheprovider"], tmp_path, environ)


def test_runs_what_init_began_on_ones_own_machine(installed, environment, database, tmp_path):
    url, environ = web_environ(database, tmp_path)
    port = url.rpartition(":")[2]
    environ = {**environ, "API_BIND_ADDR": "", "PORT": port, "HAULIER_KINDS": "kinds"}
    run([str(installed), "init"], tmp_path, environ)

    with running([str(installed), "run"], tmp_path, environ, tmp_path / "run.log"):
        eventually(lambda: answers(url), within=20)
        body = {"kind": "welcome", "payload": {"name": "Ann"}}
        job = requests.post(f"{url}/jobs", json=body, timeout=10).json()["id"]
        found = eventually(lambda: (job_now := Client(url).job(job))["finished_at"] and job_now, within=20)

    assert found["result"] == {"welcome": "Welcome, Ann!"}


def test_is_a_client_that_says_what_the_server_needs_where_it_is_installed_alone(wheel, tmp_path):
    alone = Environment(tmp_path / "alone", with_ours=False)
    alone.install("--no-deps", str(wheel))

    refused = {
        command: subprocess.run([alone.haulier, command], capture_output=True, text=True, timeout=60)
        for command in ("migrate", "web", "worker", "all", "run", "audit")
    }

    for command, done in refused.items():
        assert done.returncode == 1
        assert done.stderr == (
            f"haulier: `haulier {command}` needs what the server needs (psycopg2 is not there):"
            " pip install 'haulier[server]'\n"
        )
    run([alone.haulier, "init", "here"], tmp_path, dict(os.environ))
    assert (tmp_path / "here" / "kinds.py").exists()


def asked_for(requirements: str) -> set[str]:
    """Return what the pins are there for, by setup.cfg and not by one another."""
    pins = re.split(r"^(?=\S+==)", (ROOT / requirements).read_text(), flags=re.MULTILINE)
    return {each.partition("==")[0] for each in pins if "haulier (setup.cfg)" in each}


def test_needs_little_where_it_is_the_client_and_what_is_pinned_where_it_is_the_server(wheel):
    with ZipFile(wheel) as archive:
        about = email.message_from_bytes(archive.read(f"haulier-{haulier.__version__}.dist-info/METADATA"))
    needed = about.get_all("Requires-Dist", [])

    names: dict[str, set[str]] = {}
    for each in needed:
        extra = re.search(r"""extra == ["'](\w+)["']""", each)
        names.setdefault(extra[1] if extra else "", set()).add(re.match(r"[\w-]+", each)[0].lower())
    assert names[""] == {"requests"}
    assert names.keys() == {"", "server", "local", "dev"}
    assert names[""] | names["server"] == asked_for("requirements.txt")
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

    assert said.startswith(f"haulier {haulier.__version__}: ")
    assert {each.name for each in dist.iterdir()} == {
        f"haulier-{haulier.__version__}-py3-none-any.whl",
        f"haulier-{haulier.__version__}.tar.gz",
    }
    for each in dist.iterdir():
        assert each.read_bytes() == (tmp_path / "again" / each.name).read_bytes()
