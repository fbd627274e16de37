"""Runs the shell blocks of a page as its reader does: one after the other, in one shell, with the real curl."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.docs.reading import commands

# Notes the status of each answer, a line each.
CURL = """\
#!/bin/sh
exec {curl} -sS --max-time 20 -w '%{{stderr}}%{{http_code}}\\n' "$@" 2>> {answers}
"""
# Where the pages say that the API is.
HERE = re.compile(r"\b(?:localhost|127\.0\.0\.1):8080\b")


def expected_statuses(script: str) -> list[int | None]:
    """Return what each call has to answer: what the comment above it says, or None for any success."""
    found: list[int | None] = []
    status: int | None = None
    for command in commands(script):
        if said := re.match(r"# (\d{3})\b", command):
            status = int(said[1])
        elif not command.startswith("#"):
            for _ in re.findall(r"\bcurl ", command):
                found.append(status)
                status = None
    return found


def run(script: str, url: str, folder: Path, **environ: str) -> str:
    """Run it with this API, and return what it printed. Raises: AssertionError if an answer differs from the page."""
    answers = _lay_curl(folder / "shell")
    done = subprocess.run(
        ["sh", "-eu", "-c", HERE.sub(url.removeprefix("http://"), script)],
        cwd=folder,
        env={"HOME": str(folder), **environ, "PATH": f"{folder / 'shell'}:{environ.get('PATH', os.environ['PATH'])}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    said = f"{script}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}\n--- curl\n{answers.read_text()}"
    assert done.returncode == 0, said
    expected = expected_statuses(script)
    answered = [int(line) for line in answers.read_text().splitlines()]
    assert len(answered) == len(expected), said
    for number, (was, should_be) in enumerate(zip(answered, expected, strict=True), start=1):
        assert was == should_be or should_be is None and 200 <= was < 300, f"call {number} answered {was} in {said}"
    return done.stdout


def _lay_curl(folder: Path) -> Path:
    real = shutil.which("curl")
    assert real, "the pages need curl"
    folder.mkdir(exist_ok=True)
    answers = folder / "answers"
    answers.write_text("")
    (folder / "curl").write_text(CURL.format(curl=real, answers=answers))
    (folder / "curl").chmod(0o755)
    return answers
