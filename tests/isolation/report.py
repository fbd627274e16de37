"""`python -m tests.isolation.report` draws the table in docs/reliability.md from what the last `make isolation` saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.report import insert
from chaos.report import PAGE, write
from tests.isolation import findings

NOT_SHOWN = "**not yet shown**"


@dataclass(frozen=True)
class Row:
    """A case of issue 10.

    Shape: what happens now is what the run kept under these names; or what tests elsewhere show, written by hand, and
    until then what is promised.
    """

    item: str
    case: str
    before: str
    shown_as: tuple[str, ...] = ()
    promise: str = ""
    now: str = ""


ROWS = (
    Row(
        "1",
        "`public.set_bit(bytea, int, int)` or `make_interval` of a role that may CREATE in `public`",
        "ran as whoever inserted or registered: payloads read, an admin's API key made",
        promise="whatever runs as another role is qualified, or has its `search_path` fixed",
    ),
    Row(
        "2",
        "a `CHECK … NOT VALID` that one waiting row violates",
        "51 queued, 0 done; 21 deaths of the process in 20 s, no attempt charged",
        ("CHECK NOT VALID",),
    ),
    Row("2", "SQL_ASCII, and a Latin-1 byte in a payload", "32 deaths of the process in 30 s", ("SQL_ASCII",)),
    Row("2", "a row that cannot be claimed, for each class of SQLSTATE", "the thread died", ("one row: claim",)),
    Row(
        "3",
        "a trigger on `finished_job` that raises for 2 of 2,000",
        "514 good jobs stayed `running`; SIGTERM took 24 s; after the restart 514 ran again, 492 were stuck anew",
        ("outcome",),
    ),
    Row(
        "3",
        "an outcome that cannot be stored, for each class of SQLSTATE",
        "as above, or failed for good where it could have been stored later",
        ("one row: result", "one row: leave", "one row: return"),
    ),
    Row(
        "3",
        "an orphan that cannot be rescued",
        "ten good orphans of another worker not rescued in 30 s, no dead worker buried",
        ("one row: rescue", "bury"),
    ),
    Row(
        "3",
        "orphans of 200 MB",
        "one took 4.25 s of the 5 s that are allowed; with five of them nobody was buried",
        ("big orphans",),
    ),
    Row(
        "2, 3",
        "each statement of a worker refused, for each class of SQLSTATE, until it is healed",
        "threads and with them processes died; beats stopped for 2 s at a time",
        ("every statement",),
    ),
    Row(
        "2, 3",
        "one task of housekeeping refused",
        "those behind it were not done: no expired partition was dropped",
        ("housekeeping",),
    ),
    Row(
        "4",
        "a concurrent detach of a partition pending",
        "a job that never raises ended `failed_permanent` in 4 of 15 rounds; none of 120 settled for 6 s",
        promise="an error that may pass is retried, as an outage is",
    ),
    Row(
        "5",
        "10,000 no-op jobs in 5,000 queues",
        "166 a second, where one queue made 15,918",
        promise="within a factor of 2 from 1 to 10,000 queues (`make bench`)",
    ),
    Row(
        "6",
        "3,000 quick jobs of 250 KB; a link of 20 MB/s",
        "840 MB of memory; three kills in 512 MB; no progress for 80 s",
        promise="claims and settles are bounded by bytes too (`make bench`)",
    ),
    Row(
        "7",
        "6 million dead rows under a held snapshot",
        "`held` took 48 % of a core for each worker; a cancel 2.85 s",
        promise="each statement takes at most twice as long as beside none (`make bench`)",
    ),
    Row(
        "8",
        "a claim whose commit comes after the one look for it",
        "found after 10 s",
        promise="looked for until it is known",
    ),
    Row(
        "9",
        "LISTEN through a pool",
        "2 of 12, then 3 of 12 connections of the server went on listening with no worker left",
        promise="none goes on listening",
    ),
    Row(
        "10",
        "the web role deletes a row and inserts it again under its id",
        "jobs changed, against what operations.md said; 500 on retry",
        promise="what operations.md says holds, and no 500",
    ),
    Row(
        "11",
        "a handler holds the interpreter for longer than the lease, beside a second worker",
        "it returned three times and ended `failed_permanent`",
        promise="told apart from a crash, or documented with its remedy",
    ),
    Row(
        "12", "smaller ones", "numbers, wake-ups, partitions by name, roles with settings", promise="each has its test"
    ),
)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table: each case, what happened before, what happens now."""
    lines = ["| item | case | before | now |", "|---|---|---|---|"]
    for row in ROWS:
        now = "; ".join(_said(name, found) for name in row.shown_as) or row.now or f"{row.promise}: {NOT_SHOWN}"
        lines.append(f"| {row.item} | {row.case} | {row.before} | {now} |")
    return "\n".join(lines)


def _said(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in found:
        return f"{name}: {NOT_SHOWN}"
    parts, now = found[name]["parts"], str(found[name]["now"])
    if not parts:
        return now
    return f"{sum(parts.values())} cases of {len(parts)} kinds: {now}"


def draw() -> None:
    """Write the table into the page."""
    write(PAGE, insert(PAGE.read_text(encoding="utf-8"), "bulkheads", table(findings.load())))


if __name__ == "__main__":
    draw()
