"""Every command and code block of the pages of the first day runs, against one service that a page starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from haulier.config import TOGETHER, Config
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import eventually
from tests.docs import shell
from tests.docs.reading import DSN, ROOT, blocks_of, section
from tests.installed.environments import run, running, web_environ
from tests.kinds.kinds_tools import Receiver, receiving, reply
from tests.web import answers

PAGES = ("docs/own-repository.md", "docs/deploy.md", "docs/why-waiting.md", "docs/recipes.md", "docs/python-client.md")
# What cannot run here. Each is a decision: add it here too.
NOT_RUN = [
    ("docs/own-repository.md", "tests/installed/test_wheel.py builds it"),
    ("docs/own-repository.md", "needs an account at Heroku"),
    ("docs/own-repository.md", "needs an account at Heroku"),
    ("docs/deploy.md", "needs an account at Heroku"),
    ("docs/deploy.md", "needs a machine with Dokku"),
]
ORM = "haulier.contrib.django.worker:connections"
KEY = "the-key-of-a-test-and-of-nobody-else"


def test_no_other_block_is_left_out() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]

    assert [(block.page, block.not_run) for block in blocks if block.not_run] == NOT_RUN
    ways = {"sh", "sql", "python"}
    assert [block for block in blocks if block.language not in ways and not block.file and not block.not_run] == []
    assert [block for block in blocks if block.language == "python" and not block.file] == []


@dataclass(frozen=True)
class Service:
    """A service that runs. `environ` is that of its processes, folder where its kinds are."""

    url: str
    dsn: str
    folder: Path
    environ: dict[str, str]
    payments: Receiver

    def enqueue(self, kind: str, **payload: Any) -> str:
        """Return the id of a new job."""
        job = requests.post(f"{self.url}/jobs", json={"kind": kind, "payload": payload}, timeout=10)
        assert job.status_code == 201, job.text
        return str(job.json()["id"])

    def results(self, kind: str, jobs: int) -> list[Any]:
        """Return the results of the jobs of this kind, once this many have ended."""

        def ended() -> list[Any]:
            found = requests.get(f"{self.url}/jobs", params={"kind": kind}, timeout=10).json()
            return [job for job in found if job["finished_at"]]

        eventually(lambda: len(ended()) == jobs)
        assert {job["status"] for job in ended()} == {"succeeded"}, ended()
        return [job["result"] for job in ended()]

    def sql(self, text: str) -> None:
        """Run the statements as psql does, each for itself or as they say."""
        with closing(connect(self.dsn, application_name="haulier test")) as conn, conn.cursor() as cursor:
            cursor.execute(text)


@pytest.fixture(scope="module")
def service(_make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give what the Procfile of two dynos starts, with the kinds of the recipes."""
    folder = tmp_path_factory.mktemp("pages")
    dsn = _make_database()
    with closing(connect(dsn)) as conn:
        migrate(conn, retention_days=30)
    files = [block for block in blocks_of("docs/recipes.md") if block.file]
    for block in files:
        (folder / str(block.file)).write_text(block.text)
    kinds = [str(block.file).removesuffix(".py") for block in files if not str(block.file).startswith("test_")]
    url, environ = web_environ(dsn, folder)
    with _payments() as payments, ExitStack() as stack:
        environ |= {"HAULIER_KINDS": " ".join(kinds), "PAYMENTS_URL": payments.url, "HAULIER_URL": url}
        environ |= {"PYTHONPATH": f"{folder}:{ROOT}", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        lines = procfile("Procfile.two")
        assert lines.keys() == {"release", "web", "worker"}
        for name, more in (("web", {}), ("worker", {"HAULIER_API_KEY": KEY})):
            command = ["sh", "-c", lines[name]]
            stack.enter_context(running(command, folder, {**environ, **more}, folder / f"{name}.log"))
        eventually(lambda: answers(url))
        yield Service(url, dsn, folder, environ, payments)


def procfile(name: str) -> dict[str, str]:
    """Return the commands of a Procfile of docs/deploy.md."""
    [block] = [block for block in blocks_of("docs/deploy.md") if block.file == name]
    return dict(line.split(": ", 1) for line in block.text.splitlines())


@contextmanager
def _payments() -> Iterator[Receiver]:
    """Run a service that takes charges; its first answer asks to repeat the call."""

    def answer(handler: BaseHTTPRequestHandler, _: object) -> None:
        number = len(service.requests)
        body = json.dumps({"id": f"payment-{number}"}).encode()
        reply(handler, 503 if number == 1 else 200, body, Retry_After="0")

    with receiving(answer) as service:
        yield service


def texts(page: str, language: str) -> list[str]:
    """Return the texts of the page's blocks that run here."""
    return [block.text for block in blocks_of(page) if block.language == language and not block.not_run]


def test_the_recipes_run(service: Service) -> None:
    page = "docs/recipes.md"

    for statements in texts(page, "sql"):
        service.sql(statements)
    shell.run("".join(texts(page, "sh")), service.url, service.folder, HAULIER_API_KEY=KEY)
    charged = service.enqueue("charge", card="4242", cents=500)
    service.enqueue("credit", account="bob", amount=7)

    assert service.results("newsletter", 1) == [{"copies": 2}]
    assert sorted(each["sent_to"] for each in service.results("newsletter_copy", 2)) == [
        "ann@example.com",
        "bob@example.com",
    ]
    assert service.results("import_people", 1) == [{"people": 2}]
    assert service.results("credit", 1) == [{"was": "done now"}]
    assert service.results("charge", 1) == [{"payment": "payment-2"}]
    assert [call.headers["idempotency-key"] for call in service.payments.requests] == [charged, charged]


def test_the_program_of_the_client_runs(service: Service) -> None:
    [program] = blocks_of("docs/python-client.md")
    (service.folder / str(program.file)).write_text(program.text)

    said = run([sys.executable, str(program.file)], service.folder, service.environ)

    assert "The ship came in." in said
    assert "payload.text: Missing data for required field." in said


def test_the_test_of_the_recipes_passes(service: Service) -> None:
    for statements in texts("docs/recipes.md", "sql")[:1]:
        service.sql(statements.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_credit.py"]

    done = subprocess.run(command, cwd=service.folder, env=service.environ, capture_output=True, text=True, timeout=100)

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_looks_at_a_job_that_waits_run(service: Service) -> None:
    job = service.enqueue("newsletter_copy", text="News.", reader="ann@example.com")

    shell.run(f"ID={job}\n" + "".join(texts("docs/why-waiting.md", "sh")), service.url, service.folder)
    for statements in texts("docs/why-waiting.md", "sql"):
        service.sql(statements)


@pytest.mark.direct("is about one dyno, and not about the way to the database")
def test_one_dyno_runs_as_its_procfile_says(service: Service, tmp_path: Path) -> None:
    url, environ = web_environ(service.dsn, tmp_path)
    environ = {**service.environ, **environ, "PATH": service.environ["PATH"], "HAULIER_API_KEY": KEY}
    lines = procfile("Procfile")
    assert lines.keys() == {"release", "web"}

    run(["sh", "-c", lines["release"]], tmp_path, environ)
    with running(["sh", "-c", lines["web"]], tmp_path, environ, tmp_path / "all.log"):
        eventually(lambda: answers(url))
        calls = "".join(texts("docs/deploy.md", "sh"))
        shell.run(calls, url, tmp_path, HAULIER_API_KEY=KEY)
    for statements in texts("docs/deploy.md", "sql"):
        service.sql(statements)


def test_the_connections_of_one_dyno_add_up() -> None:
    page = section("docs/deploy.md", "### 20 connections")
    config = Config.from_env({"DATABASE_URL": DSN, **TOGETHER})
    most = config.web_concurrency * config.web_threads + config.worker_connections + 1

    assert f"| `haulier all` | {most} at most |" in page
    orm = Config.from_env({"DATABASE_URL": DSN, "HAULIER_MIDDLEWARE": ORM, **TOGETHER}).orm_connections
    assert f"one per thread | {orm} |" in page
    assert f"`heroku run` | {20 - most - 1}, or {20 - most - orm - 1} with an ORM |" in page


def test_the_figures_of_one_dyno_are_those_that_were_measured() -> None:
    page = section("docs/deploy.md", "### 512 MB")
    soak = json.loads((ROOT / "lab" / "chaos" / "results" / "one-dyno.json").read_text(encoding="utf-8"))

    assert f"took {soak['peaks']['rss_bytes'] / 1e6:.0f} MB with {soak['asked_rate']:.0f} short jobs a second" in page
    assert "408 MB" in page
