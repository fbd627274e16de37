"""What the file of a run stores: the figures that docs/reliability.md shows. A run that fails prints the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]

PLAIN = (
    "version", "seed", "minutes", "lease_seconds", "at", "machine", "injected", "accepted_jobs", "drained_seconds",
    "verdicts", "targets",
)  # fmt: skip
TIMES = ("restart_seconds", "api_back_seconds", "jobs_back_seconds")


def run(result: Result) -> dict[str, Any]:
    """Return what the file of a run with faults stores of its result."""
    troubled = result["figures"]["crash_to_restart_with_the_database_in_trouble_seconds"]
    return {
        **{name: result[name] for name in PLAIN if name in result},
        **({"acted": _acted(result["operators"])} if "operators" in result else {}),
        "starts_again": result["starts"]["again"],
        "why": result["starts"]["why"],
        "crash_to_restart_in_trouble_p99": None if troubled is None else troubled["p99"],
        "faults": {name: _fault(fault) for name, fault in result["faults"].items()},
    }


def _acted(operators: Result) -> dict[str, int]:
    """Return the number of single acts that operators did, and of jobs on which their operations acted."""
    return {
        "acts": sum(each.get("done", 0) for each in operators["acts"].values()),
        "jobs": sum(each["jobs"] for each in operators["operations"].values()),
    }


def _fault(fault: Result) -> dict[str, Any]:
    """Return what is stored of one sort of fault, without what did not occur."""
    counts = ("count", "which", "restarted_jobs", "leases_lost_by_jobs", "jobs")
    stored = {name: fault[name] for name in counts}
    stored["answers"] = _answers(fault["answers_during"]) if fault["answers_during"] else None
    for name in TIMES:
        stored[name] = {which: fault[name][which] for which in ("p50", "max")} if fault[name] is not None else None
    return {name: value for name, value in stored.items() if value}


def _answers(during: Mapping[str, int]) -> dict[str, int]:
    """Return how many answers were a success, 503, 500 or none."""
    good = sum(count for status, count in during.items() if status.startswith("2"))
    return {"2xx": good, **{status: during.get(status, 0) for status in ("503", "500", "dropped")}}


def soak(result: Result) -> dict[str, Any]:
    """Return what the file of a soak stores of its result."""
    return {name: value for name, value in result.items() if name not in ("ended", "samples")}
