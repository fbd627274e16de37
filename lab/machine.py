"""Describes the machine on which figures are taken."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path


@cache
def machine() -> dict[str, object]:
    """Return the properties of this machine that bear on figures; nothing that names it or its owner."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "node": _node(),
        "fdatasync_ms": _sync_milliseconds(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _node() -> str | None:
    try:
        return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _sync_milliseconds() -> float:
    """Return the median time of a synchronous write of 8 kB to the disk, for which a commit waits."""
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(100):
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            began = time.perf_counter()
            sync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 3)
