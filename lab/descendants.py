"""What the operating system says of processes: read from /proc if there is one, else from pgrep and ps."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc/self/stat").exists()


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that have not ended."""
    if not PROC:
        listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        return [int(each) for each in listed.stdout.split()]
    found: list[int] = []
    with suppress(OSError):
        # Each thread has a list of its own: a worker starts the processes of isolated kinds from its runners.
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Suppressed here too: a thread that ends just now must not hide the children of the others.
            with suppress(OSError):
                found += [int(each) for each in (task / "children").read_text().split()]
    return found


def parent(pid: int) -> int:
    """Return the parent of a process. Raises: OSError if the process has ended."""
    if PROC:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    listed = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True).stdout
    if not listed.strip():
        raise ProcessLookupError(pid)
    return int(listed)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


class Usage(NamedTuple):
    """The resources of a process; None if this system does not report it. Units: rss is bytes."""

    rss: int
    files: int | None
    threads: int | None


def apart(pid: int) -> list[int]:
    """Return the processes in which this worker runs the jobs of isolated kinds."""
    return [child for reaper in children(pid) if is_apart(reaper) for child in children(reaper)]


def is_apart(pid: int) -> bool:
    """Return whether the process runs jobs of an isolated kind, or is the reaper of one that does."""
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
