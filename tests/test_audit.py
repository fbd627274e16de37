"""`make audit`: what it says of each report, that it says when it could not look, and what it installs for itself."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "tools" / "audit.py"
SPEC = importlib.util.spec_from_file_location("audit", FILE)
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
# As when it is run: beside bootstrap.py.
sys.path.insert(0, str(FILE.parent))
SPEC.loader.exec_module(audit)

FLASK = {"name": "flask", "version": "3.1.0", "vulns": []}
PILLOW = {"name": "pillow", "version": "9.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.0.1"]}]}
SMOREST = {"name": "smorest", "version": "1", "vulns": [{"id": "GHSA-2", "fix_versions": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def test_each_report_is_a_few_lines():
    not_checked = "audit: NOT CHECKED: pip-audit or an index of advisories cannot be reached"
    reports: list[tuple[list[dict[str, Any]], int, str]] = [
        ([FLASK, FLASK], 0, "audit: 1 pinned packages, no known vulnerability"),
        ([FLASK, UNKNOWN], 0, "audit: 1 pinned packages, no known vulnerability; 1 are not known there"),
        ([FLASK, PILLOW, PILLOW], 1, "audit: pillow 9.0.0 has PYSEC-1, mended in 9.0.1"),
        ([SMOREST], 1, "audit: smorest 1 has GHSA-2, not mended yet"),
        ([UNKNOWN], 2, not_checked),
        ([], 2, not_checked),
    ]

    for packages, code, line in reports:
        assert audit.judge({"dependencies": packages}) == (code, [line])


def test_an_unchecked_audit_passes_only_with_if_reachable(monkeypatch, capsys):
    cases: list[tuple[list[str], list[dict[str, Any]], int]] = [
        ([], [], 2),
        (["--if-reachable"], [], 0),
        (["--if-reachable"], [PILLOW], 1),
        (["--if-reachable"], [FLASK], 0),
    ]

    for arguments, packages, code in cases:
        monkeypatch.setattr("sys.argv", ["audit.py", *arguments])
        monkeypatch.setattr(audit, "ask", lambda folder, locks, packages=packages: {"dependencies": packages})

        assert audit.main() == code
        assert ("NOT CHECKED" in capsys.readouterr().out) == (packages == [])


def test_all_that_it_installs_is_pinned_with_a_hash_and_is_itself_looked_at():
    text = (FILE.parent / "requirements-audit.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=[a-z])", re.sub(r"(?m)^\s*#.*\n", "", text)) if entry.strip()]

    assert len(entries) > 20
    assert [
        entry for entry in entries if not re.match(r"[a-z0-9-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", entry, re.S)
    ] == []
    assert any(entry.startswith("pip-audit==") for entry in entries)
    assert "tools/requirements-audit.txt" in audit.LOCKS
