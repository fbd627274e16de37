"""What the operating system says of processes: read from /proc where there is one, else from ps."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lab.descendants import PROC, children


class Usage(NamedTuple):
    """The resources of a process; None for those that this system does not report. Units: rss is bytes."""

    rss: int
    files: int | None
    threads: int | None


def apart(pid: int) -> list[int]:
    """Return the processes in which this worker runs the jobs of isolated kinds."""
    return [child for reaper in children(pid) if is_apart(reaper) for child in children(reaper)]


def is_apart(pid: int) -> bool:
    """Tell whether the process runs jobs of an isolated kind, or is the reaper of one that does."""
    return "haulier.worker.isolation.reaper" in _command(pid)


def _command(pid: int) -> str:
    if not PROC:
        return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True).stdout
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def usage(pid: int) -> Usage | None:
    """Return the resources of the process; None once it has ended."""
    if not PROC:
        found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True).stdout.split()
        return Usage(int(found[0]) * 1024, None, None) if found else None
    with suppress(OSError, KeyError):
        told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        return Usage(int(told["VmRSS"].split()[0]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), int(told["Threads"]))
    return None
