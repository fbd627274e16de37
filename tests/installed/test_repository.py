"""Haulier in a repository of a team, which `haulier init` or the reader of docs/own-repository.md began: it ..."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import pytest
import requests

from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.version import requirement, version
from tests.conftest import eventually, sql_on
from tests.docs import shell
from tests.docs.reading import Block, blocks_of
from tests.installed.environments import Client, Environment, run, running, take_in, version_of, web_environ
from tests.repositories import Repository
from tests.web import answers

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


@pytest.fixture(scope="session")
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

    def deploy(self) -> None:
        """Install its requirements, as a platform does."""
        links = ["--find-links", "vendor"]
        said = self.environment.install(*links, "--requirement", "requirements.txt", folder=self.folder)
        assert "does not provide the extra" not in said

    def says(self, environ: dict[str, str], *command: str) -> str:
        """Return what a command of the environment says in the repository, once it has ended well."""
        return run([self.environment.python, *command], self.folder, environ)

    @contextmanager
    def running(self, environ: dict[str, str], logs: Path, *names: str) -> Iterator[None]:
        """Run the release, and then these of the Procfile by honcho, until left."""
        path = f"{self.environment.folder / 'bin'}:{os.environ['PATH']}"
        environ = {**environ, "PATH": path, "HAULIER_KINDS": "kinds"}
        honcho = [sys.executable, "-m", "honcho", "start"]
        run([*honcho, "release"], self.folder, environ)
        # By this exit code it says that it was asked to stop.
        code = 128 + signal.SIGTERM
        with running([*honcho, *names], self.folder, environ, logs / "honcho.log", leaves_with=code):
            yield


@pytest.fixture
def team(environment: Environment, pip: Path, wheel: Path, library: Path, tmp_path: Path) -> Team:
    """Give what `haulier init` began, with a package `app`, a library of their own, and a kind that uses both."""
    folder = tmp_path / "repository"
    (folder / "vendor").mkdir(parents=True)
    for each in (wheel, library):
        shutil.copy(each, folder / "vendor")
    run([environment.haulier, "init", str(folder)], tmp_path, dict(os.environ))
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "greetings.py").write_text(
        "from teamlib import polite\n\n\ndef greeting(name):\n    return polite(f'Good morning, {name}')\n"
    )
    (folder / "kinds.py").write_text(OWN_KIND)
    with (folder / "requirements.txt").open("a") as file:
        file.write("teamlib==1.0\n")
    return Team(folder, Environment(tmp_path / "environment", pip, with_ours=True))


MORNING = {"greeting": "Good morning, Ann, if you please"}


def is_served_by(client: Client, version: str) -> bool:
    """Return whether the API and its worker are of this version."""
    return [each["version"] for each in (client.get("/health"), *client.get("/workers"))] == [version] * 2


@pytest.mark.direct("is about what is installed, and not about the way to the database")
@pytest.mark.slow
def test_upgrades_by_the_procfile_and_rolls_back_and_loses_nothing(team, two_wheels, fresh_database, tmp_path):
    url, environ = web_environ(fresh_database, tmp_path)
    client = Client(url)
    first, second = two_wheels
    jobs: list[str] = []
    changes = []

    for wheel in (first, second, first):
        take_in(team.folder, wheel)
        team.deploy()
        changes.append(team.says(environ, "-c", "import haulier; print('CHANGE' in vars(haulier))"))
        with team.running(environ, tmp_path, "web", "worker"):
            eventually(lambda: answers(url))
            eventually(partial(is_served_by, client, version_of(wheel)))
            # An hour goes by, after which what the version before has left is due.
            with closing(connect(fresh_database)) as conn:
                sql_on(conn)("UPDATE haulier.job SET run_at = now()")
            jobs.append(client.enqueue("greet", name="Ann"))
            assert client.results(jobs) == [MORNING] * len(jobs)
            assert {client.get(f"/jobs/{each}")["attempts"] for each in jobs} == {1}
            jobs.append(client.enqueue("greet", name="Ann", delay_seconds=3600))
            left = client.get(f"/jobs/{jobs[-1]}")["status"]

    assert changes == ["False\n", "True\n", "False\n"]
    assert [re.sub("g.*", "", version_of(wheel)) for wheel in two_wheels] == ["1.0.0.dev1+", "1.0.0.dev2+"]
    assert (len(jobs), left) == (6, "queued")


def test_writes_no_test_for_kinds_that_it_did_not_write(environment, tmp_path):
    (tmp_path / "kinds.py").write_text(OWN_KIND)

    said = run([environment.haulier, "init"], tmp_path, dict(os.environ))

    assert "test_kinds.py" not in said
    assert not (tmp_path / "test_kinds.py").exists()


def test_begins_a_repository_whose_tests_pass_and_leaves_what_is_there(environment, tmp_path):
    (tmp_path / "requirements.txt").write_text("django\n")
    (tmp_path / "Procfile").write_text("web: gunicorn shop.wsgi\n")

    said = run([environment.haulier, "init"], tmp_path, dict(os.environ))
    again = run([environment.haulier, "init", "."], tmp_path, dict(os.environ))

    written = ["kinds.py", "test_kinds.py", ".env.example", ".gitignore"]
    assert [line.split(maxsplit=1) for line in said.splitlines()[:6]] == [
        ["left", "Procfile"],
        *(["wrote", name] for name in written),
        ["left", "requirements.txt"],
    ]
    assert f"\nAdd to requirements.txt:\n{requirement('server')}\n" in said
    assert requirement("server") == f"./vendor/haulier-{version()}-py3-none-any.whl[server]"
    assert re.findall(r"^[0-9]\.", said, flags=re.MULTILINE) == ["1.", "2.", "3."]
    assert "wrote" not in again
    assert (tmp_path / "requirements.txt").read_text() == "django\n"
    assert (tmp_path / "Procfile").read_text() == "web: gunicorn shop.wsgi\n"
    environ = {"PATH": os.environ["PATH"]}
    assert "2 passed" in run([environment.python, "-m", "pytest", "-p", "no:cacheprovider"], tmp_path, environ)


@pytest.mark.direct("is about what is installed, and not about the way to the database")
@pytest.mark.slow
def test_says_three_steps_that_work_as_they_are_typed(pip, wheel, fresh_database, tmp_path, tmp_path_factory):
    began = time.monotonic()
    clean = Environment(tmp_path_factory.mktemp("clean"), pip, with_ours=True)
    clean.install("--no-deps", str(wheel))
    clean.add_pip()
    (tmp_path / "vendor").mkdir()
    shutil.copy(wheel, tmp_path / "vendor")
    url, environ = web_environ(fresh_database, tmp_path)
    path = f"{clean.folder / 'bin'}:{os.environ['PATH']}"
    environ = {**environ, "PATH": path, "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    said = run([clean.haulier, "init"], tmp_path, environ)
    steps = dict(re.findall(r"^([0-9])\. (.*)$", said, flags=re.MULTILINE))

    tested = run(["sh", "-c", steps["1"]], tmp_path, environ)
    with running(["sh", "-c", f"exec env {steps['2']}"], tmp_path, environ, tmp_path / "run.log"):
        eventually(lambda: answers(url))
        docs = requests.get(f"{url}/docs", timeout=10)
        client = Client(url)
        results = client.results([client.enqueue("welcome", name="Ann")])

    print(f"from an empty environment to the first job of an own kind: {time.monotonic() - began:.1f} s")
    assert "2 passed" in tested
    assert docs.status_code == 200
    assert f"http://127.0.0.1:{Config.from_env({'DATABASE_URL': fresh_database}).port}/docs" in steps["2"]
    assert results == [{"welcome": "Welcome, Ann!"}]


PAGE = "docs/own-repository.md"


@dataclass(frozen=True)
class Reader:
    """A reader of the page, in a shell of theirs. `url` is where their API is."""

    folder: Path
    url: str
    environ: dict[str, str]

    def types(self, block: Block) -> str:
        """Return what the commands of a block print."""
        return shell.run(block.text, self.url, self.folder, **self.environ)

    def has_built(self, wheel: Path) -> None:
        """Have this build, and no other, if `make dist` puts it."""
        dist = self.folder.parent / "haulier" / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir(parents=True)
        shutil.copy(wheel, dist)

    @contextmanager
    def leaves_running(self, block: Block) -> Iterator[None]:
        """Run the command of a block, which stays in the foreground, until left."""
        words = shlex.split(block.text)
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        program, *arguments = [word for word in words if "=" not in word]
        command = [str(shutil.which(program, path=self.environ["PATH"])), *arguments]
        with running(command, self.folder, {**self.environ, **settings}, self.folder.parent / "run.log"):
            eventually(lambda: answers(self.url))
            yield


@pytest.fixture
def reader(pip: Path, two_wheels: tuple[Path, Path], fresh_database: str, tmp_path: Path) -> Reader:
    """Give a reader beside whose repository the first wheel was built."""
    # Of this test's own, because the page ends with another version in it.
    environment = Environment(tmp_path / "environment", pip, with_ours=True)
    folder = tmp_path / "shop"
    folder.mkdir()
    Repository(folder)
    (folder / ".gitignore").write_text("__pycache__/\n*.log")
    environment.add_pip()
    url, environ = web_environ(fresh_database, tmp_path)
    environ |= {
        "PATH": f"{Path(environment.python).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    reader = Reader(folder, url, environ)
    reader.has_built(two_wheels[0])
    return reader


@pytest.mark.direct("is about what is installed, and not about the way to the database")
def test_every_step_of_the_page_works(reader: Reader, two_wheels: tuple[Path, Path]) -> None:
    said: dict[str, str] = {}
    steps = [block for block in blocks_of(PAGE) if not block.not_run]
    foreground = next(block for block in steps if block.text.endswith("haulier run\n"))
    place = steps.index(foreground)
    upgrade = next(block for block in steps if block.text.startswith("rm vendor/"))

    for block in steps[:place]:
        _take(reader, block, said)
    with reader.leaves_running(foreground):
        for block in steps[place + 1 :]:
            if block == upgrade:
                reader.has_built(two_wheels[1])
            _take(reader, block, said)
        key = said["haulier keys create --name shop --scopes enqueue,read"].strip()
        job = eventually(lambda: _ended(reader.url, key))

    assert key.startswith("hlr_")
    assert job["result"] == {"total": 11}
    assert (reader.folder / "requirements.txt").read_text() == f"./vendor/{two_wheels[1].name}[server]\n"
    assert "2 passed" in said["python -m pytest test_kinds.py"]
    assert '{"total": 11}' in said['haulier psql -- -c "SELECT kind, status, result FROM haulier.jobs"']
    assert (reader.folder / "var/webhook-secret").exists()
    staged = _staged(reader.folder)
    assert {".env.example", ".gitignore", "Procfile", "kinds.py", "requirements.txt", "shop/prices.py"} <= staged
    assert [name for name in staged if name == ".env" or name.startswith("var/")] == []
    # pip has not kept the first build.
    assert run(["python", "-c", "import haulier; print(haulier.CHANGE)"], reader.folder, reader.environ)
    assert f"haulier {version_of(two_wheels[1])}\n" in said["pip install -r requirements.txt"]
    assert "nothing to do" in said["pip install -r requirements.txt"]


def _staged(folder: Path) -> set[str]:
    """Return what `git add .` would commit, with a .env beside the other files."""
    (folder / ".env").write_text("HAULIER_API_KEY=secret\n")
    repository = Repository(folder)
    repository.git("add", ".")
    return set(repository.git("diff", "--cached", "--name-only").splitlines())


def _take(reader: Reader, block: Block, said: dict[str, str]) -> None:
    if block.file == "Procfile":
        assert (reader.folder / "Procfile").read_text() == block.text
    elif block.file:
        path = reader.folder / block.file
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
    else:
        said[block.text.splitlines()[0]] = reader.types(block)


def _ended(url: str, key: str) -> dict | None:
    jobs = requests.get(f"{url}/jobs?kind=invoice", headers={"Authorization": f"Bearer {key}"}, timeout=10).json()
    return next((job for job in jobs if job["finished_at"]), None)
