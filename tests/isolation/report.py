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
    before: str
    shown_as: tuple[str, ...] = ()
    now: str = ""


ROWS = (
    Row(
        "`public.set_bit(bytea, int, int)` or `make_interval` of a role that may CREATE in `public`",
        "ran as whoever inserted or registered: payloads read, an admin's API key made",
        now="beside 2,700 functions and thousands of operators that fit better, planted in `public`, the "
        "whole life of a job calls none of them, on the oldest server at hand: "
        "`tests/schema/test_search_path.py`",
    ),
    Row(
        "a `CHECK … NOT VALID` that one waiting row violates",
        "51 queued, 0 done; 21 deaths of the process in 20 s, no attempt charged",
        ("CHECK NOT VALID",),
    ),
    Row(
        "SQL_ASCII, and a Latin-1 byte in a payload",
        "32 deaths of the process in 30 s",
        now="`migrate` and every process refuse a database whose encoding is not UTF8: "
        "`tests/queue/upkeep/test_migrate.py`",
    ),
    Row("a row that cannot be claimed, for each class of SQLSTATE", "the thread died", ("one row: claim",)),
    Row(
        "a trigger on `finished_job` that raises for 2 of 2,000",
        "514 good jobs stayed `running`; SIGTERM took 24 s; after the restart 514 ran again, 492 were stuck anew",
        ("outcome",),
    ),
    Row(
        "an outcome that cannot be stored, for each class of SQLSTATE",
        "as above, or failed for good where it could have been stored later",
        ("one row: result", "one row: leave", "one row: return"),
    ),
    Row(
        "an orphan that cannot be rescued",
        "ten good orphans of another worker not rescued in 30 s, no dead worker buried",
        ("one row: rescue", "bury"),
    ),
    Row(
        "orphans of 200 MB",
        "one took 4.25 s of the 5 s that are allowed; with five of them nobody was buried",
        ("big orphans",),
    ),
    Row(
        "each statement of a worker refused, for each class of SQLSTATE, until it is healed",
        "threads and with them processes died; beats stopped for 2 s at a time",
        ("every statement",),
    ),
    Row(
        "one task of housekeeping refused",
        "those behind it were not done: no expired partition was dropped",
        ("housekeeping",),
    ),
    Row(
        "a concurrent detach of a partition pending",
        "a job that never raises ended `failed_permanent` in 4 of 15 rounds; none of 120 settled for 6 s",
        now="settles wait and say for which process; other days' partitions are still made, an interrupted "
        "detach is finished, and no job fails of it: `tests/queue/upkeep/test_partitions_changed_by_others.py`",
    ),
    Row(
        "10,000 no-op jobs in 5,000 queues",
        "166 a second, where one queue made 15,918",
        now="10,000 queues at 0.57 of the rate of one ([benchmarks](benchmarks.md#many-queues))",
    ),
    Row(
        "3,000 quick jobs of 250 KB; a link of 20 MB/s",
        "840 MB of memory; three kills in 512 MB; no progress for 80 s",
        now="101 MB at most and no kill, whatever the mix; 1.4 s without progress at most"
        " ([benchmarks](benchmarks.md#large-jobs))",
    ),
    Row(
        "6 million dead rows under a held snapshot",
        "`held` took 48 % of a core for each worker; a cancel 2.85 s",
        now="a cancel takes 11 ms, and a worker 0.4 % of a core, as beside none; calls about one job take no longer."
        " What looks at all that waits or runs reads the entries of the dead, at 0.7 to 1.4 s:"
        " [measured](benchmarks.md#measured-once)",
    ),
    Row(
        "a claim whose commit comes after the one look for it",
        "found after 10 s",
        now="looked for every 0.4 s for half an hour, and given back uncharged: "
        "`tests/worker/threads/test_heartbeat.py`",
    ),
    Row(
        "LISTEN through a pool",
        "2 of 12, then 3 of 12 connections of the server went on listening with no worker left",
        now="a pool in transaction mode is recognised before anything listens; none of 20 server "
        "connections did after six workers: "
        "`test_no_connection_of_the_pool_listens_once_workers_have_asked`",
    ),
    Row(
        "the web role deletes a row and inserts it again under its id",
        "jobs changed, against what the docs said; 500 on retry",
        now="the page says what that role can do; 409 on retry: `tests/queue/jobs/test_retry.py`, "
        "`tests/schema/test_grants.py`",
    ),
    Row(
        "a handler holds the interpreter for longer than the lease, beside a second worker",
        "it returned three times and ended `failed_permanent`",
        now="documented with its remedy, a longer lease; the process that comes back names the jobs whose "
        "handlers were running: [kinds.md](kinds.md)",
    ),
    Row("smaller ones", "numbers, wake-ups, partitions by name, roles with settings", now="each has its test"),
)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: each case, what happened before, what happens now."""
    lines = ["| case | before | now |", "|---|---|---|"]
    for row in ROWS:
        now = "; ".join(_said(name, found) for name in row.shown_as) or row.now
        lines.append(f"| {row.case} | {row.before} | {now} |")
    return "\n".join(lines)


def _said(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in found:
        return f"{name}: {NOT_SHOWN}"
    parts, now = found[name]["parts"], str(found[name]["now"])
    if not parts:
        return now
    return f"{sum(parts.values())} cases of {len(parts)} kinds: {now}"


def draw() -> None:
    write(PAGE, insert(PAGE.read_text(encoding="utf-8"), "bulkheads", table(load())))


if __name__ == "__main__":
    draw()
