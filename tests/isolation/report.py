"""`python -m tests.isolation.report` draws the table in docs/reliability.md from what the last `make isolation` saw."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.chaos.report import PAGE
from lab.page import insert, write

NOT_SHOWN = "**not yet shown**"
# What a run of these tests has shown.
FILE = Path(__file__).with_name("results.json")


def record(case: str, text: str, *, part: str = "") -> None:
    """Keep what was shown of this case, and how often of this part of it; several processes may do so at once."""
    with FILE.open("a+", encoding="utf-8") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        found = json.loads(kept.read() or "{}")
        parts = Counter(found.get(case, {}).get("parts", {}))
        parts[part] += bool(part)
        found[case] = {"now": text, "at": time.strftime("%Y-%m-%d %H:%M"), "parts": dict(sorted((+parts).items()))}
        kept.truncate(0)
        kept.write(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n")


def load() -> dict[str, dict[str, Any]]:
    """Return what was shown, by case."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


@dataclass(frozen=True)
class Row:
    """A case that was seen to stop more than itself.

    What happens now is what the run kept under the names of `shown_as`; or what tests elsewhere show, written by hand.
    """

    case: str
    shown_as: tuple[str, ...] = ()
    now: str = ""


ROWS = (
    Row(
        "a row that cannot be claimed, stored or given back",
        ("one row: claim", "one row: result", "one row: leave", "one row: return"),
    ),
    Row(
        "a trigger refuses the end of 2 jobs of 2,000",
        ("outcome",),
    ),
    Row(
        "a `CHECK … NOT VALID` that one waiting job violates",
        ("CHECK NOT VALID",),
    ),
    Row("a dead worker's job that cannot be taken over", ("one row: rescue",)),
    Row("a dead worker that cannot be removed", ("bury",)),
    Row("a dead worker's jobs of 200 MB", ("big orphans",)),
    Row("each statement of a worker refused", ("every statement",)),
    Row(
        "one task of [housekeeping](glossary.md#housekeeper) refused",
        ("housekeeping",),
    ),
    Row(
        "a pending concurrent detach of a [partition](glossary.md#partition)",
        now="workers wait, name the process, and no job fails: "
        "`tests/queue/upkeep/test_partitions_changed_by_others.py`",
    ),
    Row(
        "a claim that commits late",
        now="its jobs are found within 0.4 s, for half an hour: `tests/worker/threads/test_heartbeat.py`",
    ),
    Row(
        "LISTEN through a transaction pooler",
        now="the pooler is recognised first: `test_no_connection_of_the_pool_listens_once_workers_have_asked`",
    ),
    Row(
        "functions planted in `public`, such as `set_bit(bytea, int, int)`",
        now="none of 2,700 is called: `tests/schema/test_search_path.py`",
    ),
    Row(
        "the web role deletes a row and inserts it under the same id",
        now="409: `tests/queue/jobs/test_retry.py`, `tests/schema/test_grants.py`",
    ),
)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: each case, and what happens now."""
    lines = ["| case | now |", "|---|---|"]
    for row in ROWS:
        # Parts of a case that showed the same are said once.
        now = "; ".join(dict.fromkeys(_said(name, found) for name in row.shown_as)) or row.now
        lines.append(f"| {row.case} | {now} |")
    return "\n".join(lines)


def _said(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in found:
        return f"{name}: {NOT_SHOWN}"
    parts, now = found[name]["parts"], str(found[name]["now"])
    if not parts:
        return now
    return f"{sum(parts.values()):,} cases: {now}"


def draw() -> None:
    write(PAGE, insert(PAGE.read_text(encoding="utf-8"), "refused rows", table(load())))


if __name__ == "__main__":
    draw()
