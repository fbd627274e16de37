"""The breaches that were found, by promise, and the summary of durations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Findings:
    """The breaches of each promise; an empty list is a promise that held."""

    broken: dict[str, list[str]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                "lost",
                "stuck",
                "finished_twice",
                "settled_by_a_stale_claim",
                "started_twice_under_one_claim",
                "started_after_its_end",
                "claimed_while_paused",
                "started_while_paused",
                "tick_unaccounted",
                "tick_fired_twice",
                "tick_against_its_rule",
                "key_stood_for_two_jobs",
                "cancel_did_not_hold",
                "ended_wrongly",
                "answered_wrongly",
                "hung",
                "unexplained",
                "miscounted",
                "operation_did_not_end",
                "operation_miscounted",
                "operation_acted_twice",
                "operation_acted_on_others",
                "act_not_done_once",
                "act_not_on_record",
            )
        }
    )

    def add(self, promise: str, what: str) -> None:
        """Note a breach."""
        self.broken[promise].append(what)


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Return the number of values, their median, 99th percentile and maximum; None without values."""
    found = sorted(values)
    if not found:
        return None
    return {
        "count": len(found),
        "p50": round(found[len(found) // 2], 3),
        "p99": round(found[min(len(found) - 1, int(len(found) * 0.99))], 3),
        "max": round(found[-1], 3),
    }
