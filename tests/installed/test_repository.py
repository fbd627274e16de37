"""Haulier in a repository of a team, which `haulier init` began: it ..."""

from __future__ import annotations

import os
import re
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

from haulier.cli.init import requirement
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.version import version
from tests.conftest import eventually, sql_on
from tests.installed.environments import Client, Environment, run, running, version_of, web_environ
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

    def takes(self, wheel: Path) -> None:
        """Put another build of Haulier into vendor/ and the requirements, as docs/own-repository.md says."""
        for old in (self.folder / "vendor").glob("haulier-*"):
            old.unlink()
        shutil.copy(wheel, self.folder / "vendor")
        path = self.folder / "requirements.txt"
        path.write_text(re.sub(r".*haulier.*", f"./vendor/{wheel.name}[server]", path.read_text()))

    def says(self, environ: dict[str, str], *command: str) -> str:
        """Return what a command of the environment says in the repository, once it has ended well."""
        return run([self.environment.python, *command], self.folder, environ)

    @contextmanager
    def running(self, environ: dict[str, str], logs: Path, *names: str) -> Iterator[None]:
        """Run the release, and then these of the Procfile by honcho, or else `haulier all`, until left."""
        path = f"{self.environment.folder / 'bin'}:{os.environ['PATH']}"
        environ = {**environ, "PATH": path, "HAULIER_KINDS": "kinds"}
        honcho = [sys.executable, "-m", "honcho", "start"]
        run([*honcho, "release"], self.folder, environ)
        if names:
            # By this exit code it says that it was asked to stop.
            code = 128 + signal.SIGTERM
            with running([*honcho, *names], self.folder, environ, logs / "honcho.log", leaves_with=code):
                yield
        else:
            with running([self.environment.haulier, "all"], self.folder, environ, logs / "all.log"):
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
def test_runs_a_kind_of_a_repository_that_init_began_on_one_dyno(team, wheel, fresh_database, tmp_path):
    url, environ = web_environ(fresh_database, tmp_path)
    client = Client(url)
    team.deploy()

    with team.running(environ, tmp_path):
        eventually(lambda: answers(url))
        assert client.results([client.enqueue("greet", name="Ann")]) == [MORNING]
        assert client.get("/health") == {"status": "ok", "version": version_of(wheel)}


@pytest.mark.direct("is about what is installed, and not about the way to the database")
@pytest.mark.slow
def test_upgrades_by_the_procfile_and_rolls_back_and_loses_nothing(team, two_wheels, fresh_database, tmp_path):
    url, environ = web_environ(fresh_database, tmp_path)
    client = Client(url)
    first, second = two_wheels
    jobs: list[str] = []
    changes = []

    for wheel in (first, second, first):
        team.takes(wheel)
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
    assert (len(jobs), left) == (6, "queued")


@pytest.mark.slow
def test_pip_replaces_a_commit_by_the_next_and_goes_back(pip, two_wheels, tmp_path):
    made = Environment(tmp_path / "environment", pip, with_ours=False)
    made.add("click", "requests", "rich")
    said = []

    for wheel in (*two_wheels, two_wheels[0]):
        shutil.copy(wheel, tmp_path)
        (tmp_path / "requirements.txt").write_text(f"./{wheel.name}\n")
        made.install("--requirement", "requirements.txt", folder=tmp_path)
        said.append(run([made.haulier, "--version"], tmp_path, {}))

    versions = [version_of(wheel) for wheel in two_wheels]
    assert [re.sub("g.*", "", each) for each in versions] == ["1.0.0.dev1+", "1.0.0.dev2+"]
    assert said == [f"haulier {each}\n" for each in (*versions, versions[0])]


def test_begins_a_repository_whose_tests_pass_and_leaves_what_is_there(environment, tmp_path):
    (tmp_path / "requirements.txt").write_text("django\n")
    (tmp_path / "Procfile").write_text("web: gunicorn shop.wsgi\n")

    said = run([environment.haulier, "init"], tmp_path, dict(os.environ))
    again = run([environment.haulier, "init", "."], tmp_path, dict(os.environ))

    written = ["kinds.py", "test_kinds.py", ".env.example", ".gitignore"]
    assert [line.split(maxsplit=1) for line in said.splitlines()[:6]] == [
        ["left", "Procfile"],
        *(["wrote", name] for name in written),
        ["left", f"requirements.txt: add the line {requirement(version())}"],
    ]
    file = "haulier-1.0.1.dev3+g012345678-py3-none-any.whl"
    assert requirement("1.0.1.dev3+g012345678") == f"./vendor/{file}[server]"
    assert requirement("1.0.0") == "haulier[server]==1.0.0"
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
