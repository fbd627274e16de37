"""A soak: the same stage without faults, at 500 jobs a second for a long time, with samples of all resources."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from haulier.version import version
from lab.chaos.load import Load, Mix
from lab.chaos.one_dyno import OneDyno
from lab.chaos.one_dyno import peaks as peaks_of_dyno
from lab.chaos.stage import Stage, opened
from lab.descendants import usage
from lab.machine import machine
from lab.waiting import TookTooLong, pause, until

RATE = 500.0
CLIENTS = 6
DRAIN_SECONDS = 60.0
DELAY_SECONDS = 10.0
WEB = {"WEB_CONCURRENCY": "2", "WEB_THREADS": "4"}
WORKER = {"WORKER_THREADS": "8", "LEASE_SECONDS": "30"}
# Shares of the time in which a report's snapshot, which keeps dead rows, is held and is not.
HELD, FREE = 0.8, 0.2
# A series is flat if over the second half it grows by at most this share of its median, or by its value in FLOORS.
TOLERANCE = 0.1
# Dead rows rise and fall with autovacuum's rounds of a minute, each round unlike the others. So only the peaks of
# windows of ROUNDS_SECONDS are compared, and only if there are LEAST_PEAKS of them.
ROUNDS_SECONDS, LEAST_PEAKS, PEAKS_TOLERANCE = 100.0, 6, 0.25
FLOORS = {
    "rss_bytes": 8e6,
    "files": 4,
    "threads": 2,
    "connections": 2,
    "dead_rows": 5_000,
    "table_bytes": 8e6,
    "index_bytes": 8e6,
}
FINAL = ("succeeded", "failed_permanent", "cancelled")
# The least share of the rate that the clients must reach: on a machine too slow for the load, a soak proves nothing.
LEAST_OF_RATE = 0.98
# Series that need not be flat: history and keys are kept, and so they grow.
KEPT = ("history_bytes", "key_bytes", "finished_jobs")
TABLES = """
    SELECT
        (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'haulier %'),
        (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'haulier' AND relname = 'job'),
        pg_table_size('haulier.job'),
        pg_indexes_size('haulier.job'),
        (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
            WHERE inhparent = 'haulier.finished_job'::regclass),
        pg_total_relation_size('haulier.idempotency'),
        (SELECT count(*) FROM haulier.job)
"""


def job(chance: random.Random, *, delay_seconds: float) -> dict[str, Any]:
    """Return a job: most are quick, some wait, some fail twice, some are to be cancelled before they begin."""
    drawn = chance.random()
    if drawn < 0.05:
        return {"kind": "c.raises", "payload": {"times": 2}}
    if drawn < 0.08:
        return {"kind": "c.quick", "payload": {}, "delay_seconds": delay_seconds}
    if drawn < 0.8:
        return {"kind": "c.quick", "payload": {}}
    return {"kind": "c.works", "payload": {"ms": chance.randint(5, 50)}}


def soak(
    folder: Path,
    *,
    minutes: float,
    rate: float = RATE,
    every: float = 5.0,
    cancels: float = 0.05,
    one_dyno: bool = False,
) -> dict[str, Any]:
    """Run for this long and return a verdict on each series.

    `cancels` is the share of the calls that cancel a job. Units: every is seconds.
    """
    seconds = 60 * minutes
    # The run ends with its last job: in a short run no job may wait for longer than the run.
    one = partial(job, delay_seconds=min(DELAY_SECONDS, seconds / 2))
    mix = Mix(rate=rate, keyed=0.2, batches=0.2, cancels=cancels, batch=(20, 60), job=one)
    with opened(_stage_of(folder, one_dyno=one_dyno)) as running:
        load = Load(running.port, mix, seed=1, clients=CLIENTS)
        load.start()
        began_at = time.monotonic()
        with reporting(running, period=min(25.0, seconds / 6)):
            samples = list(_sampled(running, seconds=seconds, every=every))
        load.stop(within=60)
        ran = time.monotonic() - began_at
        # If jobs are left after that, they are counted as stuck; hours of samples must not be lost.
        with suppress(TookTooLong):
            until(lambda: not running.run("SELECT 1 FROM haulier.job LIMIT 1"), within=DRAIN_SECONDS, what="all ended")
        ended = dict(running.run("SELECT status, count(*) FROM haulier.finished_job GROUP BY 1"))
        jobs = running.run("SELECT id::text, status FROM haulier.jobs")
        stored = {job_id: status in FINAL for job_id, status in jobs}
    series = by_name(samples)
    greatest = {name: each_minute(values) for name, values in series.items() if is_judged(name)}
    verdicts = {name: found for name, values in series.items() if (found := judged(name, values)) is not None}
    return {
        "version": version(),
        "minutes": minutes,
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "asked_rate": rate,
        "rate": round(len(load.accepted) / ran, 1),
        "accepted_jobs": len(load.accepted),
        "not_answered": sum(1 for answer in load.answers if answer.status in (0, 500, 503)),
        "ended": ended,
        "lost": len(load.accepted.keys() - stored.keys()),
        "stuck": sum(not has_ended for has_ended in stored.values()),
        "flat": all(each["flat"] for each in verdicts.values()),
        "verdicts": verdicts,
        **({"peaks": peaks_of_dyno(samples)} if one_dyno else {}),
        "samples": len(samples),
        **({} if one_dyno else {"each_minute": greatest}),
    }


def _stage_of(folder: Path, *, one_dyno: bool) -> Stage:
    if one_dyno:
        return OneDyno(folder)
    return Stage(folder, is_broken=False, web=WEB, worker={**WORKER, "CHAOS_LEDGER": "/dev/null"})


def is_good(result: dict[str, Any]) -> bool:
    """Return whether every series was flat at the rate that was asked for, every job ended, and one dyno was enough."""
    kept_up = result["rate"] >= LEAST_OF_RATE * result["asked_rate"]
    fits = result.get("peaks", {}).get("fits", True)
    return bool(result["flat"] and kept_up and fits) and not (
        result["lost"] or result["stuck"] or result["not_answered"]
    )


@contextmanager
def reporting(running: Stage, *, period: float) -> Iterator[None]:
    """Run a report during the block, which reads all jobs in a snapshot that it holds for most of each period."""
    stopped = threading.Event()

    def report() -> None:
        with closing(running.connect()) as conn, conn.cursor() as cursor:
            while not stopped.is_set():
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT kind, status, count(*) FROM haulier.jobs GROUP BY 1, 2")
                stopped.wait(HELD * period)
                cursor.execute("COMMIT")
                stopped.wait(FREE * period)

    thread = threading.Thread(target=report, name="report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(10)


def _sampled(running: Stage, *, seconds: float, every: float) -> Iterator[dict[str, float]]:
    began_at = time.monotonic()
    with closing(running.connect()) as conn, conn.cursor() as cursor:
        while (at := time.monotonic() - began_at) < seconds:
            cursor.execute(TABLES)
            names = (
                "connections",
                "dead_rows",
                "table_bytes",
                "index_bytes",
                "history_bytes",
                "key_bytes",
                "live_jobs",
            )
            [values] = cursor.fetchall()
            found = {name: float(value or 0) for name, value in zip(names, values, strict=True)}
            yield {"at": round(at, 1), **found, **_held(running)}
            pause(max(0.0, began_at + at + every - time.monotonic()))


def _held(running: Stage) -> dict[str, float]:
    """Return the resources of each service's processes together."""
    held: dict[str, float] = {}
    for service in running.services:
        used = [found for pid in service.working() if (found := usage(pid)) is not None]
        held[f"{service.name}_rss_bytes"] = float(sum(each.rss for each in used))
        for what in ("files", "threads"):
            if all(getattr(each, what) is not None for each in used):
                held[f"{service.name}_{what}"] = float(sum(getattr(each, what) for each in used))
    return held


def by_name(samples: Sequence[dict[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return each series as (seconds, value)."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        for name, value in sample.items():
            if name != "at":
                found[name].append((sample["at"], value))
    return found


def is_judged(name: str) -> bool:
    """Return whether the series has to be flat."""
    return name not in KEPT and any(name.endswith(what) for what in FLOORS)


def each_minute(values: Sequence[tuple[float, float]]) -> list[int]:
    """Return the greatest value of each minute. Values has pairs of seconds and value."""
    minutes: dict[int, float] = {}
    for at, value in values:
        minute = int(at / 60)
        minutes[minute] = max(value, minutes.get(minute, value))
    return [round(value) for value in minutes.values()]


def floor_of(name: str) -> float:
    """Return the growth that the series is always allowed."""
    return next(floor for what, floor in FLOORS.items() if name.endswith(what))


def judged(name: str, values: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    """Return the verdict on the series; None for one that need not be flat or has too few values."""
    if not is_judged(name):
        return None
    if name != "dead_rows":
        return verdict(values, floor_of(name))
    found = peaks(values)
    return verdict(found, floor_of(name), PEAKS_TOLERANCE) if len(found) >= LEAST_PEAKS else None


def peaks(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the highest value of each whole window of ROUNDS_SECONDS, at the window's end."""
    found: dict[int, float] = {}
    for at, value in values:
        window = int(at / ROUNDS_SECONDS)
        found[window] = max(value, found.get(window, value))
    is_whole = {window: (window + 1) * ROUNDS_SECONDS <= values[-1][0] for window in found}
    return [((window + 1) * ROUNDS_SECONDS, value) for window, value in found.items() if is_whole[window]]


def verdict(values: Sequence[tuple[float, float]], floor: float, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Return whether the series is flat over its second half, by the median slope between any two samples.

    Single peaks, or a sawtooth, do not change that slope; steady growth does.
    """
    last = values[len(values) // 2 :]
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(last, 2) if t > s]
    median = statistics.median(value for _, value in last)
    growth = (statistics.median(slopes) if slopes else 0.0) * (last[-1][0] - last[0][0])
    allowed = max(floor, tolerance * median)
    return {
        "median": round(median, 1),
        "growth": round(growth, 1),
        "allowed": round(allowed, 1),
        "flat": growth <= allowed,
    }
