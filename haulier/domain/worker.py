"""A worker process, as its row tells."""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """How a worker is. Shape: silent is one that has not beaten for two thirds of its lease."""

    WORKING = "working"
    QUIET = "quiet"
    STOPPING = "stopping"
    SILENT = "silent"
