"""The demo's table of jobs."""

from __future__ import annotations

import os
import sys
from typing import Any

COLOURS = {"succeeded": 32, "failed_permanent": 31, "cancelled": 31}
YELLOW = 33


class Table:
    """A line for each job: rewritten in place on a terminal, or else printed anew when it changes."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._shown: list[str] = []

    def show(self, jobs: list[dict[str, Any]]) -> None:
        lines = [self._line(job) for job in jobs]
        if self._live and self._shown:
            print(f"\x1b[{len(self._shown)}F", end="")
        for number, line in enumerate(lines):
            if self._live:
                print(f"{line}\x1b[K")
            elif line not in self._shown[number : number + 1]:
                print(line)
        sys.stdout.flush()
        self._shown = lines

    def _line(self, job: dict[str, Any]) -> str:
        status = f"{job['status']:<16}"
        if self._live:
            status = f"\x1b[{COLOURS.get(job['status'], YELLOW)}m{status}\x1b[0m"
        return f"  {job['kind']:<16}  {status}  attempt {job['attempts']} of {job['max_attempts']}"
