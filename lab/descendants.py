"""The processes that a process has started: read from /proc where there is one, else from pgrep."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc/self/stat").exists()


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that have not ended."""
    if not PROC:
        listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        return [int(each) for each in listed.stdout.split()]
    found: list[int] = []
    with suppress(OSError):
        # Each thread has a list of its own: a worker starts the processes of isolated kinds from one of its threads.
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Suppressed here too: a thread that ends just now must not hide the children of the others.
            with suppress(OSError):
                found += [int(each) for each in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]
