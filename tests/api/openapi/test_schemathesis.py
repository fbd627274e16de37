"""Schemathesis makes requests from the OpenAPI document, good ones and bad ones, and checks every answer against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.web import ROOT, Server

# At most for each operation; SCHEMATHESIS_EXAMPLES=500, the long run, makes some 4,800 requests in two minutes.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "20")
# Without the coverage of every boundary of the document, which is 2,000 requests.
SHORT = ["--max-examples", "2", "--phases", "examples,fuzzing,stateful"]
KEY = "0123456789abcdef" * 2
Run = Callable[..., AbstractContextManager[Server]]
# The short run makes the same requests each time; SCHEMATHESIS_SEED makes others.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SHORT, id="few"),
        pytest.param(["--max-examples", EXAMPLES], id="many", marks=pytest.mark.slow),
    ],
)
def test_schemathesis_with_all_checks_finds_nothing(
    run_gunicorn: Run, database: str, tmp_path: Path, options: list[str]
) -> None:
    config = ROOT / "tests/api/openapi/schemathesis.toml"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        "--checks",
        "all",
        *options,
    ]
    # The one header that is required is then given to every request; that it is asked for is a check of its own.
    command += ["--header", f"Authorization: Bearer {KEY}", "--exclude-checks", "missing_required_header"]
    command += ["--seed", SEED, "--no-color"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    # With keys on, since one of the checks is that nothing is answered without.
    with run_gunicorn(database, WEB_CONCURRENCY="1", HAULIER_API_KEY=KEY) as server:
        command.append(f"{server.url}/api-docs/openapi.json")
        run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        log = server.log.read_text()

    # How many requests it were, for who asks with -s.
    print(run.stdout[-1_000:])
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert "Traceback" not in log
    assert KEY not in log
