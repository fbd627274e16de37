"""A worker process, as its row says."""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """How a worker is.

    `silent` is one that has not beaten for two thirds of its lease; gone is one that has ended.
    """

    WORKING = "working"
    QUIET = "quiet"
    STOPPING = "stopping"
    SILENT = "silent"
    GONE = "gone"


def worker_name(host: str, pid: int) -> str:
    """Return what a worker process is called: its host, and its id there."""
    return f"{host}:{pid}"
