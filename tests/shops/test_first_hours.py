"""The first hours of a team: Haulier in a shop of two years ago, from its requirements to a rollback. ..."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from haulier.local.embedded import Server
from haulier.postgres.connection import connect
from tests.conftest import eventually, sql_on
from tests.installed.environments import Environment, run, running, take_in, web_environ
from tests.repositories import Repository
from tests.shops.conftest import DJANGO, HERE, SQLALCHEMY, restart, shop_of

KEY = "k" * 40
MOUNT = """
from haulier.wsgi import application as haulier
from werkzeug.middleware.dispatcher import DispatcherMiddleware

{name} = DispatcherMiddleware({inner}, {{"/haulier": haulier}})
"""
# The next release of the kind takes one more field.
FIELD = ("    order_id = fields.Integer(required=True)\n", "    language = fields.String(load_default='en')\n")


@dataclass(frozen=True)
class Way:
    """How one shop does it."""

    name: str
    settings: dict[str, str]
    module: str
    mount: str
    tests: tuple[str, ...]
    passed: str


WAYS = [
    Way(
        "django_shop",
        {**DJANGO, "CONN_MAX_AGE": "600"},
        "shop/wsgi.py",
        MOUNT.format(name="application", inner="application"),
        ("manage.py", "test", "--noinput"),
        "Found 4 test(s)",
    ),
    Way(
        "flask_shop",
        SQLALCHEMY,
        "shop.py",
        MOUNT.format(name="app.wsgi_app", inner="app.wsgi_app"),
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "shop_tests.py"),
        "2 passed",
    ),
]


@dataclass
class Team:
    """A team with its repository, its virtual environment, and its platform."""

    way: Way
    folder: Path
    environment: Environment
    server: Server

    def __post_init__(self) -> None:
        self.url, environ = web_environ(shop_of(self.server), self.folder.parent)
        self.environ = {
            **environ,
            "PATH": f"{Path(self.environment.python).parent}:{os.environ['PATH']}",
            "PORT": self.url.rpartition(":")[2],
            "HAULIER_API_KEY": KEY,
            **self.way.settings,
        }
        del self.environ["API_BIND_ADDR"]

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def deploy(self) -> None:
        """Install the requirements as a platform does: from the index, together."""
        command = [self.environment.python, "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"]
        environ = {**os.environ, "PYTHONPATH": str(self.environment.pip)}
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr

    def says(self, *command: str) -> str:
        return run([self.environment.python, *command], self.folder, self.environ)

    @contextmanager
    def serves(self) -> Iterator[None]:
        """Run the release, then web and worker of the Procfile, until left."""
        honcho = [sys.executable, "-m", "honcho", "start"]
        run([*honcho, "release"], self.folder, self.environ)
        code = 128 + signal.SIGTERM
        with running(
            [*honcho, "web", "worker"], self.folder, self.environ, self.folder.parent / "honcho.log", leaves_with=code
        ):
            eventually(lambda: self.get("/health").get("status") == "ok")
            yield

    def get(self, path: str) -> dict:
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            return requests.get(f"{self.url}/haulier{path}", headers=headers, timeout=10).json()
        except requests.ConnectionError:
            return {}

    def buy(self) -> str | None:
        """Order something over the shop's own page, and return the id of the job that thanks for it; None: it failed.

        After a restart of Postgres the shop's own pages fail once, as its framework has it.
        """
        answer = requests.post(f"{self.url}/orders", data={"email": "ann@example.com"}, timeout=10)
        return str(answer.json()["job"]) if answer.status_code == 201 else None

    def ask(self, text: str, *values: object) -> list[tuple]:
        with closing(connect(shop_of(self.server), application_name="haulier test")) as conn:
            return sql_on(conn)(text, *values)

    def connections(self) -> int:
        [[number]] = self.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return int(number)

    def is_over(self, *jobs: str) -> bool:
        return all(self.get(f"/jobs/{job}")["finished_at"] for job in jobs)


@pytest.mark.slow
@pytest.mark.direct("is about what is installed, and not about the way to the database")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_shop_of_two_years_ago_takes_haulier_in_and_rolls_it_back(way, server, pip, two_wheels, tmp_path):
    began_at = time.monotonic()
    folder = tmp_path / "repository"
    shutil.copytree(HERE / way.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "vendor").mkdir()
    (folder / ".gitignore").write_text("__pycache__/")
    pins = (folder / "requirements.txt").read_text().split()
    team = Team(way, folder, Environment(tmp_path / "environment", pip, with_ours=False), server)
    first, second = two_wheels

    # Install, init, mount, test.
    with (folder / "requirements.txt").open("a") as file:
        file.write("pytest\nhaulier\n")
    take_in(folder, first)
    team.deploy()
    frozen = team_freeze(team)
    said = run([team.environment.haulier, "init"], folder, team.environ)
    with (folder / way.module).open("a") as file:
        file.write(way.mount)
    tested = team.says(*way.tests)
    Repository(folder).git("add", ".")

    assert [pin for pin in pins if pin.lower() not in frozen] == []
    assert re.findall(r"^(wrote|added|left) +(\S+)", said, re.MULTILINE)[0] == ("left", "Procfile")
    assert way.passed in tested
    staged = Repository(folder).git("diff", "--cached", "--name-only").splitlines()
    assert [name for name in staged if name.startswith("var/") or name == ".env"] == []

    # Deploy, order, and restart Postgres under load.
    with team.serves():
        thanked = eventually(team.buy)
        eventually(lambda: team.is_over(thanked))
        assert team.get(f"/jobs/{thanked}")["status"] == "succeeded"
        print(f"{way.name}: from nothing to the first own job in production in {time.monotonic() - began_at:.0f} s")
        before = team.connections()
        jobs = [eventually(team.buy) for _ in range(20)]
        restart(server)
        eventually(lambda: team.get("/health").get("status") == "ok")
        eventually(lambda: team.is_over(*jobs))
        more = [eventually(team.buy) for _ in range(20)]
        eventually(lambda: team.is_over(*more))
        assert {team.get(f"/jobs/{job}")["status"] for job in (*jobs, *more)} == {"succeeded"}
        assert team.connections() <= before + 8

    # Upgrade, with a field that the release before does not know; roll back while jobs have it; and forward again.
    take_in(folder, second)
    team.deploy()
    team.edit("kinds.py", FIELD[0], FIELD[0] + FIELD[1])
    [[order]] = team.ask("SELECT max(id) FROM shop_order")
    payload = {"order_id": order, "language": "de"}
    with team.serves():
        assert "CHANGE" in team.says("-c", "import haulier; print(vars(haulier).keys())")
        waiting = enqueue(team, payload, delay_seconds=3600)
    take_in(folder, first)
    team.deploy()
    team.edit("kinds.py", FIELD[1], "")
    with team.serves():
        team.ask("UPDATE haulier.job SET run_at = now() WHERE id::text = %s RETURNING id", waiting)
        given_back = eventually(lambda: was_given_back(team, waiting))
        assert (given_back["status"], given_back["attempts"]) == ("queued", 0)
    take_in(folder, second)
    team.deploy()
    team.edit("kinds.py", FIELD[0], FIELD[0] + FIELD[1])
    with team.serves():
        team.ask("UPDATE haulier.job SET run_at = now() WHERE id::text = %s RETURNING id", waiting)
        eventually(lambda: team.is_over(waiting))
        assert team.get(f"/jobs/{waiting}")["status"] == "succeeded"


def team_freeze(team: Team) -> set[str]:
    environ = {**os.environ, "PYTHONPATH": str(team.environment.pip)}
    said = run([team.environment.python, "-m", "pip", "freeze"], team.folder, environ)
    return {line.lower() for line in said.splitlines()}


def enqueue(team: Team, payload: dict[str, object], **more: object) -> str:
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"kind": "thank", "payload": payload, **more}
    answer = requests.post(f"{team.url}/haulier/jobs", json=body, headers=headers, timeout=10)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def was_given_back(team: Team, job_id: str) -> dict | None:
    """Return the job once a worker has given it back, because it does not know the field."""
    job = team.get(f"/jobs/{job_id}")
    return job if "language" in (job["last_error"] or "") else None
