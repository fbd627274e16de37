"""Many workers on hosts far away, under load, of which some are cut off from the database for longer than a lease."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from haulier.version import version
from lab.chaos.ledger import Event, Record, read
from lab.hosts import Reachable, hosts
from lab.machine import machine
from lab.servers import Connection, ask, connect
from lab.waiting import ROOT, alive, pause, processes, until

HOSTS, WORKERS_EACH, THREADS, ROUND_TRIP = 10, 4, 2, 0.05
CUT_HOSTS = 2
# Jobs a second, and how long each takes: half of what the workers can do.
RATE, MILLISECONDS = 60.0, 500
ENQUEUE = """
    INSERT INTO haulier.job (kind, payload, max_attempts)
    SELECT 'c.works', jsonb_build_object('n', n, 'ms', %s), 20 FROM generate_series(1, %s) AS n
    RETURNING id::text
"""
ENDS = "SELECT id::text, claim::text, result ->> 'claim', status, crashes FROM haulier.finished_job"
LEFT = "SELECT id::text FROM haulier.job"
# The workers of these processes that were declared dead, how long after a time, and what was taken from them.
BURIED = """
    SELECT extract(epoch FROM ended_at)::float - %s, taken_over
    FROM haulier.worker_past
    WHERE ended_how = 'buried' AND pid = ANY(%s)
"""
RUNNING = """
    SELECT job.id::text FROM haulier.job JOIN haulier.worker ON worker.id = job.worker_id
    WHERE job.status = 'running' AND worker.pid = ANY(%s)
"""
NOT_STORED = "lost the claim"


class Load:
    """Enqueues jobs at an even pace by INSERTs, until it is stopped. `accepted` are the ids that were committed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.accepted: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        with closing(connect(self._url)) as conn:
            while not self._stopped.wait(0.1):
                if (due := int((time.monotonic() - began) * RATE) - len(self.accepted)) > 0:
                    self.accepted += [row[0] for row in _rows(conn, ENQUEUE, MILLISECONDS, due)]


def run(folder: Path, *, lease_seconds: float) -> dict[str, Any]:
    """Cut hosts off, heal them, and return the result."""
    ledger, log = folder / "ledger", folder / "workers.log"
    with hosts(HOSTS, round_trip=ROUND_TRIP) as network, Reachable(folder / "pg", network.address) as server:
        url, far = server.make_database("jobs")
        commands = [network.on(host, sys.executable, "worker.py") for host in range(HOSTS) for _ in range(WORKERS_EACH)]
        env = _settings(far, ledger, lease_seconds)
        with closing(connect(url)) as conn, processes(commands, env, log=log) as workers:
            pids = [worker.pid for worker in workers]
            cut = pids[: CUT_HOSTS * WORKERS_EACH]
            registered = partial(ask, conn, "SELECT count(*) FROM haulier.worker")
            until(alive(workers, lambda: registered() == len(workers)), within=180, what="all workers are there")
            # Before, no worker takes over jobs.
            pause(lease_seconds)
            with Load(url) as load:
                pause(10)
                network.cut(*range(CUT_HOSTS))
                cut_at, began = time.time(), time.monotonic()
                held = {row[0] for row in _rows(conn, RUNNING, cut)}
                buried = partial(_rows, conn, BURIED, cut_at, cut)
                until(lambda: len(buried()) == len(cut), within=3 * lease_seconds, what="they are declared dead")
                pause(max(0.0, began + 1.5 * lease_seconds - time.monotonic()))
                network.heal()
                healed_at = time.monotonic()
                back = partial(_back, ledger, cut, healed_at)
                until(alive(workers, lambda: len(back()) == len(cut)), within=120, what="they work again")
                pause(5)
            until(lambda: not ask(conn, "SELECT 1 FROM haulier.job LIMIT 1"), within=240, what="no job is left")
            ends, left = _rows(conn, ENDS), {row[0] for row in _rows(conn, LEFT)}
            told = _told(buried(), held, back(), read(ledger), began)
    judged = judge(load.accepted, ends, left, read(ledger))
    return {
        "version": version(),
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "lease_seconds": lease_seconds,
        "round_trip_ms": round(1000 * ROUND_TRIP),
        "hosts": HOSTS,
        "workers": HOSTS * WORKERS_EACH,
        "cut_workers": len(cut),
        "cut_seconds": round(healed_at - began, 1),
        "accepted_jobs": len(load.accepted),
        "late_results": log.read_text(errors="replace").count(NOT_STORED),
        **told,
        "verdicts": judged,
        "met": is_met(judged, told, lease_seconds),
    }


def is_met(verdicts: dict[str, int], told: dict[str, Any], lease_seconds: float) -> bool:
    """Return whether no promise was broken, and jobs were rescued in time."""
    # A second more than a lease after the last beat: see docs/promises.md.
    in_time = told["declared_dead_seconds"] <= lease_seconds + 1
    return in_time and told["restarted_jobs"] > 0 and not any(verdicts.values())


def judge(
    accepted: list[str], ends: list[tuple[str, str, str, str, int]], left: set[str], ledger: list[Record]
) -> dict[str, int]:
    """Return how often each promise was broken.

    `ends` are the rows of ENDS. A job that started again must have crashed, as those that were taken over have.
    """
    ended = Counter(job for job, *_ in ends)
    claims = Counter((record.job, record.claim) for record in ledger if record.event is Event.START)
    starts = Counter(str(job) for job, _ in claims)
    return {
        "lost": len(set(accepted) - ended.keys() - left),
        "stuck": len(left),
        "finished_twice": sum(many > 1 for many in ended.values()),
        "settled_by_a_stale_claim": sum(claim != by for _, claim, by, *_ in ends),
        "started_twice_under_one_claim": sum(many > 1 for many in claims.values()),
        "ended_wrongly": sum(status != "succeeded" for *_, status, _ in ends),
        "unexplained": sum(starts[job] > 1 + crashes for job, *_, crashes in ends),
    }


def _told(
    buried: list[tuple[float, int]], held: set[str], back: dict[int, float], ledger: list[Record], cut_at: float
) -> dict[str, Any]:
    """Return how soon workers that were cut off were declared dead, their jobs ran elsewhere, and they worked again.

    Units: seconds.
    """
    began = Counter[UUID]()
    again = []
    for record in ledger:
        if record.event is Event.START and str(record.job) in held:
            began[record.job] += 1
            if began[record.job] > 1 and record.at > cut_at:
                again.append(record.at - cut_at)
    return {
        "declared_dead_seconds": round(max(seconds for seconds, _ in buried), 1),
        "taken_over": sum(jobs for _, jobs in buried),
        "restarted_jobs": len(again),
        "restart_seconds": {"p50": _round(sorted(again)[len(again) // 2]), "max": _round(max(again))}
        if again
        else None,
        "back_seconds": _round(max(back.values())),
    }


def _back(ledger: Path, pids: list[int], since: float) -> dict[int, float]:
    """Return how soon after a time each of these processes started a job."""
    back: dict[int, float] = {}
    for record in read(ledger):
        if record.event is Event.START and record.pid in pids and record.at > since:
            back.setdefault(record.pid, record.at - since)
    return back


def _settings(url: str, ledger: Path, lease_seconds: float) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "HAULIER_KINDS": "lab.chaos.kinds",
        "PYTHONPATH": str(ROOT),
        "CHAOS_LEDGER": str(ledger),
        "WORKER_THREADS": str(THREADS),
        "WORKER_METRICS_PORT": "0",
        "LEASE_SECONDS": f"{lease_seconds:g}",
    }


def _rows(conn: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def _round(seconds: float) -> float:
    return round(seconds, 1)
