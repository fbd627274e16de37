"""`make audit`: what it says of each report, and that it does not mind being alone."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[1] / "tools" / "audit.py"
SPEC = importlib.util.spec_from_file_location("audit", FILE)
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

FLASK = {"name": "flask", "version": "3.1.0", "vulns": []}
PILLOW = {"name": "pillow", "version": "9.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.0.1"]}]}
SMOREST = {"name": "smorest", "version": "1", "vulns": [{"id": "GHSA-2", "fix_versions": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "lines"),
    [
        ([FLASK, FLASK], 0, ["audit: 1 pinned packages, no known vulnerability"]),
        ([FLASK, UNKNOWN], 0, ["audit: 1 pinned packages, no known vulnerability; 1 are not known there"]),
        ([FLASK, PILLOW, PILLOW], 1, ["audit: pillow 9.0.0 has PYSEC-1, mended in 9.0.1"]),
        ([SMOREST], 1, ["audit: smorest 1 has GHSA-2, not mended yet"]),
        ([UNKNOWN], 0, ["audit: nothing was checked, because no index of advisories can be reached"]),
        ([], 0, ["audit: nothing was checked, because no index of advisories can be reached"]),
    ],
    ids=["clean", "one unknown", "one fault", "no remedy", "all unknown", "no report"],
)
def test_each_report_is_said_in_a_few_lines(packages: list[dict[str, Any]], code: int, lines: list[str]) -> None:
    assert audit.judge({"dependencies": packages}) == (code, lines)


def test_without_a_network_it_is_soon_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    started = time.monotonic()

    report = audit.ask(tmp_path / "venv", [FILE.parents[1] / "requirements.txt"])

    assert audit.judge(report)[0] == 0
    assert report == {"dependencies": []}
    assert time.monotonic() - started < 60
