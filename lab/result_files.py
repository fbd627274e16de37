"""The files of results, of benchmarks and of chaos: JSON of few lines, and the commit that was measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lab.page import write
from lab.waiting import ROOT

LINE = 120
# What an earlier measure of the same run has changed is no change of the code.
DRAWN = (":!docs", ":!lab/bench/results", ":!lab/chaos/results")


def save(path: Path, result: Mapping[str, object]) -> Path:
    """Write a result to its file and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, written(result) + "\n")
    return path


def written(value: object, indent: int = 0) -> str:
    """Return the value as JSON: on one line if it fits, or if it contains nothing but plain values."""
    line = json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        items = [(f"{json.dumps(name, ensure_ascii=False)}: ", each) for name, each in value.items()]
    elif isinstance(value, list):
        items = [("", each) for each in value]
    else:
        return line
    if indent + len(line) <= LINE or not any(isinstance(each, (dict, list)) for _, each in items):
        return line
    lines = [f"{' ' * (indent + 1)}{name}{written(each, indent + 1)}" for name, each in items]
    return "\n".join([line[0], ",\n".join(lines), " " * indent + line[-1]])


@cache
def commit() -> str | None:
    """Return the commit of this checkout, with `-dirty` if its code was changed since; None without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD").stdout.strip()
        is_dirty = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *DRAWN).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if is_dirty else head


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
