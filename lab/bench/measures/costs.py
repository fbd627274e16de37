"""What a job costs the database while it is drained: commits, WAL and dead rows, by size of payload."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from lab.bench.contenders import peers
from lab.bench.contenders.contender import Contender, TableWatch
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import timed
from lab.bench.tables import PageTable, figure
from lab.bench.targets import Target
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
    """Drain, and read the server's counters before and after."""
    jobs = bench.jobs(jobs, least=100)
    with contender.home(bench.server) as url, closing(connect(url)) as conn, conn.cursor() as cursor:
        text = TEXT.format(blocks=max(1, round(kilobytes * 1000 / BLOCK)))
        cursor.execute(FILL[contender.name].format(text=text, series=f"generate_series(1, {jobs}) AS n"))
        bench.server.settle(url)
        before = counters(conn)
        with contender.watching(url) as watch:
            # Both contenders keep their jobs in a table.
            assert isinstance(watch, TableWatch)
            timed(contender, url, watch)
        after = counters(conn)
        after["commits"] -= watch.asked
    return {name: round((after[name] - before[name]) / jobs, 4) for name in before}


def counters(conn: Connection) -> dict[str, float]:
    """Return the server's counters, after a pause in which processes that ended report theirs."""
    pause(1.5)
    ask(conn, "SELECT pg_stat_clear_snapshot()")
    return {
        "wal_kb": float(ask(conn, "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn) / 1000")),
        "commits": float(ask(conn, COMMITS)),
        "dead_rows": float(ask(conn, DEAD)),
    }


TABLES = [
    PageTable(
        figure("commits a job", "commits", 3),
        figure("WAL a job, kB", "wal_kb", 2),
        figure("dead rows a job", "dead_rows", 2),
    )
]
TARGETS: list[Target] = []
