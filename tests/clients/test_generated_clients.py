"""Clients that others generate from the OpenAPI document, with their generators' defaults: each ..."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.api import build
from haulier.config import Config
from tests.docs.reading import DSN, ROOT, blocks_in, section
from tests.web import Server

# Generators and compilers, each a program that takes a second or two of a core of its own.
pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
PYTHON = ROOT / ".venv-clients" / "bin"
NODE = ROOT / "tools" / "clients"
KEY = "0123456789abcdef" * 2
KINDS = ["resize_image", "send_email", "summarize_text", "webhook_delivery"]
SHOWN = section("docs/api.md", "## Clients that you generate")

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(build(Config(DSN)).extensions["haulier_openapi"])
    return file


@pytest.fixture(scope="module")
def python_client(document: Path) -> Path:
    """Give the folder in which openapi-python-client's package can be imported."""
    folder = document.parent / "python"
    made = run(PYTHON / "openapi-python-client", "generate", "--path", document, "--output-path", folder)
    # What it says that it left out: it knows no lines of JSON, and the batch takes an array too.
    assert re.findall(r"^(?:WARNING|ERROR|Unable|Unsupported).*", made.stdout + made.stderr, re.MULTILINE) == [
        "WARNING parsing POST /jobs/batch within jobs.",
        "Unsupported content type application/x-ndjson",
    ]
    return folder


@pytest.fixture(scope="module")
def typescript_client(document: Path) -> Path:
    """Give the folder with openapi-typescript's haulier.d.ts, in which openapi-fetch is installed."""
    folder = document.parent / "typescript"
    folder.mkdir()
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    run(NODE / "node_modules/.bin/openapi-typescript", document, "--output", folder / "haulier.d.ts")
    return folder


@pytest.fixture(scope="module")
def other_clients(document: Path) -> Path:
    """Give the folder with what @hey-api/openapi-ts, orval and datamodel-codegen made, and a program for each."""
    folder = document.parent / "others"
    folder.mkdir()
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "package.json").write_text('{"type": "commonjs"}')
    for name in ("hey_api.ts", "orval.ts", "pydantic_models.py"):
        shutil.copy(HERE / f"use_{name}", folder)
    shutil.copy(document, folder / "openapi.json")
    for line in blocks_in(SHOWN, "sh")[1].splitlines():
        if not line.startswith(("curl ", "npm install ", "pip install ")):
            run(*line.split(), cwd=folder)
    return folder


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as in a shell whose environment is that of the clients."""
    assert PYTHON.exists(), "needs the generators: `make test-clients` installs them"
    environ = {"PATH": f"{PYTHON}:{os.environ['PATH']}", "HOME": str(cwd), "LANG": "C.UTF-8"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def compiled(folder: Path, *words: str) -> None:
    tsc = NODE / "node_modules/.bin/tsc"
    options = ["--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
    run(tsc, *options, *words, cwd=folder)


def test_python_compiles_every_module_and_passes_mypy(python_client: Path) -> None:
    modules = sorted((python_client / "haulier_client").rglob("*.py"))
    names = [".".join(module.relative_to(python_client).with_suffix("").parts) for module in modules]

    run(PYTHON / "python", "-m", "compileall", "-q", "haulier_client", cwd=python_client)
    run(PYTHON / "python", "-W", "error", "-c", "; ".join(f"import {name}" for name in names), cwd=python_client)
    shutil.copy(HERE / "use_python_client.py", python_client)
    run(PYTHON / "mypy", "--strict", "haulier_client", "use_python_client.py", cwd=python_client)

    assert len(names) > 40


def test_python_enqueues_lists_reads_and_cancels_jobs_of_each_kind(
    python_client: Path, run_gunicorn: Run, database: str
) -> None:
    shutil.copy(HERE / "use_python_client.py", python_client)

    with run_gunicorn(database, HAULIER_API_KEY=KEY) as server:
        done = run(PYTHON / "python", "use_python_client.py", server.url, KEY, cwd=python_client)

    check(json.loads(done.stdout))


def test_typescript_compiles_strictly_and_handles_jobs_of_each_kind(
    typescript_client: Path, run_gunicorn: Run, database: str
) -> None:
    shutil.copy(HERE / "use_typescript_client.ts", typescript_client)
    compiled(typescript_client, "use_typescript_client.ts")

    with run_gunicorn(database, HAULIER_API_KEY=KEY) as server:
        done = run("node", "use_typescript_client.js", server.url, KEY, cwd=typescript_client)

    check(json.loads(done.stdout))


def check(said: dict[str, Any]) -> None:
    """Fail unless that is what each of the two programs should have got."""
    ids = [job["id"] for job in said["enqueued"]]
    email, webhook = said["read"][1]["payload"], said["read"][3]["payload"]
    assert [job["kind"] for job in said["enqueued"]] == KINDS
    assert said["listed"] == ids[::-1]
    assert said["searched"] == [ids[1]]
    assert [job["id"] for job in said["read"]] == ids
    assert (said["read"][0]["payload"]["fit"], said["read"][0]["priority"]) == ("cover", 5)
    assert (email["cc"], email["bcc"], said["read"][1]["queue"]) == (["d@b.c", "e@b.c"], "f@b.c", "default")
    # Nothing is sent that was not given.
    assert said["read"][2]["payload"] == {"text": "The ship came in. It was late."}
    assert (webhook["body"], webhook["headers"]) == ({"lines": [1, None, "x"]}, {"X-Shop": "7"})
    assert (said["retried"]["id"], said["retried"]["status"]) == (ids[0], "queued")
    assert len(set(said["batch"]) - set(ids)) == 4
    assert said["kinds"] == KINDS
    assert said["refused"] == "validation"


def test_other_generators_make_what_compiles_enqueues_lists_reads_and_cancels(
    other_clients: Path, run_gunicorn: Run, database: str
) -> None:
    options = ["--module", "commonjs", "--moduleResolution", "node10", "--esModuleInterop", "--skipLibCheck"]
    compiled(other_clients, "use_hey_api.ts", "use_orval.ts", *options)
    run(PYTHON / "mypy", "--strict", "haulier_models.py", "use_pydantic_models.py", cwd=other_clients)

    programs = (["node", "use_hey_api.js"], ["node", "use_orval.js"], [PYTHON / "python", "use_pydantic_models.py"])
    with run_gunicorn(database, HAULIER_API_KEY=KEY) as server:
        said = [json.loads(run(*each, server.url, KEY, cwd=other_clients).stdout) for each in programs]

    for found in said:
        job = found["enqueued"]
        assert job["payload"] == {"text": "Zürich & co=1. It was late."}
        assert ([each["id"] for each in found["listed"]], found["matched"]) == ([job["id"]], 1)
        assert (found["read"]["id"], found["read"]["status"]) == (job["id"], "queued")
        assert found["cancelled"] == {"status": "cancelled", "job_id": job["id"]}


@pytest.fixture
def shown_server(run_gunicorn: Run, database: str) -> Any:
    """Give a server whose URL and key stand in for those of the documentation."""
    with run_gunicorn(database, HAULIER_API_KEY=KEY) as server:
        yield server


def as_shown(language: str, server: Server) -> str:
    [block] = blocks_in(SHOWN, language)
    assert "http://localhost:8080" in block
    return block.replace("http://localhost:8080", server.url).replace("<key>", KEY)


def test_the_documentation_shows_the_tested_generators_and_names_every_operation(document: Path) -> None:
    paths = json.loads(document.read_text())["paths"].values()
    ids = [call["operationId"] for calls in paths for call in calls.values() if "operationId" in call]

    assert [name for name in ids if f"`{name}`" not in SHOWN] == []

    pinned = (NODE / "package.json").read_text() + (NODE / "requirements.txt").read_text()
    lines = "\n".join(blocks_in(SHOWN, "sh")).splitlines()
    packages = [word for line in lines if " install " in line for word in line.split()[2:]]
    assert [name for name in packages if name.removesuffix("@5") not in pinned] == []
    assert lines[1] == "openapi-python-client generate --url http://localhost:8080/api-docs/openapi.json"
    assert lines[3] == "npx openapi-typescript http://localhost:8080/api-docs/openapi.json --output haulier.d.ts"


def test_python_runs_what_the_documentation_shows(python_client: Path, shown_server: Server) -> None:
    (python_client / "shown.py").write_text(as_shown("python", shown_server))

    run(PYTHON / "mypy", "--strict", "shown.py", cwd=python_client)
    done = run(PYTHON / "python", "shown.py", cwd=python_client)

    assert done.stdout == "queued\n"


def test_typescript_runs_what_the_documentation_shows(typescript_client: Path, shown_server: Server) -> None:
    (typescript_client / "shown.ts").write_text(as_shown("ts", shown_server))

    compiled(typescript_client, "shown.ts")
    done = run("node", "shown.js", cwd=typescript_client)

    assert done.stdout == "queued\n"
