"""The processes that a process has started, and its parent: from /proc where there is one, else from pgrep and ps."""

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
        # Each thread has a list of its own: a worker starts the processes of isolated kinds from its runners.
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Suppressed here too: a thread that ends just now must not hide the children of the others.
            with suppress(OSError):
                found += [int(each) for each in (task / "children").read_text().split()]
    return found


def parent(pid: int) -> int:
    """Return the parent of a process. Raises: OSError where the process has ended."""
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
