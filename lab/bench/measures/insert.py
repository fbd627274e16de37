"""What the wake-up trigger costs clients that INSERT jobs: 16 clients of pgbench, one job a transaction."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.plots import Plot
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, ratio
from lab.servers import ask, connect, tool
from lab.waiting import ROOT, alive, environment, pause, until

NAME = "insert"
TITLE = "Plain INSERTs by 16 clients"
PLOT = Plot("per_second", "INSERTs per second, each committed")

CLIENTS, SECONDS = 16, 5.0
THREADS = 8
# Jobs that run for longer than the measure, so that a worker which runs them has no free thread.
BUSY = """
    INSERT INTO haulier.job (kind, payload, priority)
    SELECT 'sleep', '{"milliseconds": 600000}', 100 FROM generate_series(1, %s)
"""
INSERT = """INSERT INTO haulier.job (kind, payload) VALUES ('noop', '{"n": 1}');\n"""
NO_TRIGGERS = """
    DO $$
    DECLARE found record;
    BEGIN
        FOR found IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'haulier.job'::regclass AND NOT tgisinternal LOOP
            EXECUTE format('DROP TRIGGER %I ON haulier.job', found.tgname);
        END LOOP;
    END
    $$
"""
TRIGGER = """
    CREATE FUNCTION haulier.bench() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$;
    CREATE TRIGGER bench AFTER INSERT ON haulier.job FOR EACH STATEMENT EXECUTE FUNCTION haulier.bench();
"""
EMPTY, NOTIFY = TRIGGER.format(""), TRIGGER.format("PERFORM pg_notify('haulier_job', '');")


def entries() -> list[Entry]:
    """Return Haulier's trigger with busy, idle and polling workers, and other triggers in its place."""
    missing = None if tool("pgbench") else "pgbench is not installed"
    busy = partial(working, busy=True)
    idle = partial(working, busy=False)
    asleep = partial(working, busy=False, settings={"WAKE_UPS": "off"})
    rows = [
        ("raw-empty-trigger", "busy workers, empty trigger", EMPTY, busy),
        ("haulier", "busy workers, wake-ups", None, busy),
        ("haulier-idle", "idle worker, wake-ups", None, idle),
        ("haulier-off", "idle worker, WAKE_UPS=off", None, asleep),
        ("raw-no-trigger", "busy workers, no trigger", "", busy),
        ("raw-notify", "busy workers, NOTIFY in each INSERT", NOTIFY, busy),
    ]
    return [Entry(name, label, partial(once, trigger, workers), missing) for name, label, trigger, workers in rows]


def once(trigger: str | None, workers: Callable[[str], AbstractContextManager[None]], bench: Bench) -> Figures:
    """INSERT for some seconds."""
    with Haulier().home(bench.server) as url:
        if trigger is not None:
            with closing(connect(url)) as conn, conn.cursor() as cursor:
                cursor.execute(NO_TRIGGERS + ";" + trigger)
        with workers(url):
            bench.server.settle(url)
            return {"per_second": inserts_per_second(url, max(1.0, SECONDS * bench.scale))}


@contextmanager
def working(url: str, *, busy: bool, settings: dict[str, str] | None = None, checkout: Path = ROOT) -> Iterator[None]:
    """Run two worker processes, with all their threads busy or with nothing to do."""
    # They need not finish their jobs at the end.
    settings = {"SHUTDOWN_SECONDS": "0", **(settings or {})}
    worker = Haulier(processes=2, threads=THREADS, settings=settings, checkout=checkout)
    with closing(connect(url)) as conn:
        if busy:
            with conn.cursor() as cursor:
                cursor.execute(BUSY, (2 * THREADS,))
        with worker.working(url) as started:
            until(
                alive(started, lambda: ask(conn, "SELECT count(*) FROM haulier.worker") == worker.processes),
                within=30,
                what="the workers have registered",
            )
            if busy:
                running = "SELECT count(*) FROM haulier.job WHERE status = 'running'"
                until(lambda: ask(conn, running) == 2 * THREADS, within=30, what="every thread has a job")
                # A worker's row stays in `sleeper` until it has worked for a second without a break.
                pause(2.0)
            yield


def inserts_per_second(url: str, seconds: float) -> float:
    """Return how many single INSERTs pgbench commits."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(INSERT)
        script.flush()
        command = [
            str(tool("pgbench")),
            "--no-vacuum",
            f"--client={CLIENTS}",
            "--jobs=2",
            f"--time={max(1, round(seconds))}",
        ]
        done = subprocess.run(
            [*command, f"--file={script.name}", f"--dbname={url}"],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
    [rate, *_] = re.findall(r"tps = ([\d.]+)", done.stdout)
    return round(float(rate), 1)


TABLES = [PageTable(figure("INSERTs/s", "per_second"))]
TARGETS = [at_least("wake-ups / empty trigger", ratio("per_second", "haulier", "raw-empty-trigger"), 0.85)]
