"""What a job costs the database while it is drained: round trips, commits, WAL, dead rows; by size of payload."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial
from pathlib import Path

from lab.bench.contenders import peers
from lab.bench.contenders.contender import Contender, TableWatch
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.report import figure, table
from lab.bench.results import Result
from lab.servers import Connection, ask, connect
from lab.waiting import pause

NAME = "costs"
TITLE = "What a job costs the database, from its claim to its settle"

# Kilobytes of payload, and how many jobs of that size.
SIZES = ((0.2, 20_000), (20, 4_000), (200, 400))
FILL = {
    # Text that hardly compresses, like most payloads.
    "haulier": (
        "INSERT INTO haulier.job (kind, payload) SELECT 'blob', jsonb_build_object('text', {text}) FROM {series}"
    ),
    "graphile-worker": "SELECT graphile_worker.add_job('noop', json_build_object('text', {text})) FROM {series}",
}
TEXT = "(SELECT string_agg(md5(n::text || m::text), '') FROM generate_series(1, {blocks}) AS m)"
BLOCK = 32
DEAD = """
    SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)
    FROM pg_stat_user_tables WHERE schemaname IN ('haulier', 'graphile_worker')
"""
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


def entries() -> list[Entry]:
    """Return Haulier and graphile-worker, for each size."""
    return [
        Entry(
            f"{contender.name}-{kilobytes:g}-kb",
            f"{contender.label}, payload of {kilobytes:g} kB",
            partial(once, contender, kilobytes, jobs),
            missing := contender.missing(),
            "" if missing else contender.version(),
            contender.settings,
            at_most=3,
        )
        for kilobytes, jobs in SIZES
        for contender in (Haulier("haulier", "Haulier"), peers.graphile)
    ]


def once(contender: Contender, kilobytes: float, jobs: int, bench: Bench) -> Figures:
    """Drain with every statement logged, and read the counters before and after; the drain is not timed."""
    jobs = bench.jobs(jobs, least=100)
    with contender.home(bench.server) as url, closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute("SET log_statement = 'none'")
        text = TEXT.format(blocks=max(1, round(kilobytes * 1000 / BLOCK)))
        cursor.execute(FILL[contender.name].format(text=text, series=f"generate_series(1, {jobs}) AS n"))
        bench.server.settle(url)
        database = ask(conn, "SELECT current_database()")
        # Each message to the server is one line in its log.
        cursor.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
        before, lines = counters(conn), logged(bench.server.log)
        with contender.watching(url) as watch:
            # Both contenders keep their jobs in a table.
            assert isinstance(watch, TableWatch)
            with closing(watch.conn), watch.conn.cursor() as other:
                other.execute("SET log_statement = 'none'")
                timed(contender, url, watch)
        after = counters(conn)
        after["commits"] -= watch.asked
    per_job = {name: round((after[name] - before[name]) / jobs, 3) for name in before}
    if bench.server.log is not None:
        per_job["round_trips"] = round((logged(bench.server.log) - lines) / jobs, 4)
    return {"jobs": jobs, **per_job, "wal_kb": round(per_job["wal_bytes"] / 1000, 3)}


def counters(conn: Connection) -> dict[str, float]:
    """Return the server's counters, after a pause in which processes that ended report theirs."""
    pause(1.5)
    ask(conn, "SELECT pg_stat_clear_snapshot()")
    return {
        "wal_bytes": float(ask(conn, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")),
        "commits": float(ask(conn, COMMITS)),
        "dead_rows": float(ask(conn, DEAD)),
    }


def logged(log: Path | None) -> int:
    """Return how many messages with statements the server has logged."""
    if log is None:
        return 0
    return len(re.findall(rb"^\S+ \S+ \S+ \[\d+\] LOG:  (?:statement|execute)", log.read_bytes(), re.MULTILINE))


def report(result: Result) -> str:
    """Return the table."""
    columns = [
        figure("round trips a job", "round_trips", 3),
        figure("commits a job", "commits", 3),
        figure("WAL a job, kB", "wal_kb", 2),
        figure("dead rows a job", "dead_rows", 2),
    ]
    return table(result.rows, columns)
