"""Schemathesis makes requests from the OpenAPI document, good ones and bad ones, and checks every answer against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Server

# For each operation; SCHEMATHESIS_EXAMPLES=2000 is the long run.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "20")
# The short run makes the same requests each time; SCHEMATHESIS_SEED makes others.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


@pytest.mark.timeout(3600)
def test_schemathesis_with_all_checks_finds_nothing(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests/api/schemathesis.toml")]
    command += ["run", "--checks", "all", "--max-examples", EXAMPLES, "--seed", SEED, "--no-color"]

    run = subprocess.run(
        [*command, f"{server.url}/api-docs/openapi.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert "Traceback" not in server.log.read_text()
