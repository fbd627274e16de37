"""Whether anything that is pinned has a known vulnerability, by pip-audit in its own environment.

    python tools/audit.py [--if-reachable]

Leaves with 0 if all is well, 1 for a vulnerability, and 2 if nothing was checked. With --if-reachable the last is
said, but is not a failure: a check that needs the internet must not stand in the way of work without it. pip-audit and
all that it needs are pinned with their hashes, as everything else is, and installed by the pip of tools/vendor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import bootstrap

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "tools/requirements-audit.txt",
    "tools/requirements-docs.txt",
    "tools/clients/requirements.txt",
)
PIP_AUDIT = ROOT / "tools" / "requirements-audit.txt"
NOT_CHECKED = 2
# Without a network both must give up soon; with one the first run installs some thirty packages.
INSTALL_SECONDS, AUDIT_SECONDS, CONNECT_SECONDS = 60, 60, 5


def judge(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and what to say, of pip-audit's report.

    pip-audit finds no fault with a package that the index does not know; only of such packages nothing is known.
    """
    packages = {(each["name"], each.get("version")): each for each in report["dependencies"]}.values()
    checked = [each for each in packages if "skip_reason" not in each]
    if not checked:
        return NOT_CHECKED, ["audit: NOT CHECKED: pip-audit or an index of advisories cannot be reached"]
    found = [
        f"audit: {each['name']} {each['version']} has {fault['id']}, {_remedy(fault['fix_versions'])}"
        for each in checked
        for fault in each["vulns"]
    ]
    left_out = len(packages) - len(checked)
    unknown = f"; {left_out} are not known there" if left_out else ""
    return (1, found) if found else (0, [f"audit: {len(checked)} pinned packages, no known vulnerability{unknown}"])


def _remedy(versions: list[str]) -> str:
    return f"mended in {' and '.join(versions)}" if versions else "not mended yet"


def ask(folder: Path, locks: list[Path]) -> dict[str, Any]:
    """Return pip-audit's report on these files; one without any package if it could make none."""
    python = folder / "bin" / "python"
    with tempfile.TemporaryDirectory() as made:
        written = Path(made, "report.json")
        try:
            if not (folder / "bin" / "pip-audit").exists():
                venv.create(folder, with_pip=False)
            # The user's own pip settings count, but for one that would take what has no hash here.
            pip = [str(python), "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", str(CONNECT_SECONDS)]
            pip += ["--no-input", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
            _run([*pip, "--no-deps", "--requirement", str(PIP_AUDIT)], INSTALL_SECONDS)
            options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
            options += ["--timeout", str(CONNECT_SECONDS), "--output", str(written)]
            files = [option for lock in locks for option in ("--requirement", str(lock))]
            _run([str(folder / "bin" / "pip-audit"), *options, *files], AUDIT_SECONDS)
            report: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        # It cannot be installed, does not answer in time, or ends without a report: all the same, nothing is known.
        except (OSError, ValueError, subprocess.SubprocessError):
            return {"dependencies": []}
    return report


def _run(command: list[str], seconds: int) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environ = {**os.environ, "PYTHONPATH": bootstrap.checked_pip()}
    subprocess.run(command, timeout=seconds, env=environ, check=False, **quiet)


def main() -> int:
    """Say what is known, and return the exit code."""
    code, lines = judge(ask(ROOT / ".venv-audit", [ROOT / lock for lock in LOCKS]))
    print(*lines, sep="\n")
    return 0 if code == NOT_CHECKED and "--if-reachable" in sys.argv[1:] else code


if __name__ == "__main__":
    sys.exit(main())
