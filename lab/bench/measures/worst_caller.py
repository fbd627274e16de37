"""How one abusive caller with a valid enqueue key affects all others."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from lab.bench import notes
from lab.bench.abuse import abused
from lab.bench.contenders.haulier import PYTHON, Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.enqueue import answers
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of, ratio
from lab.descendants import descendants
from lab.servers import connect, free_port
from lab.waiting import ROOT, TookTooLong, alive, environment, pause, processes, until

NAME = "worst_caller"
TITLE = "Another caller's jobs, 20 a second, alone and beside one that does its worst"

PER_SECOND, SECONDS, ABUSERS, SEED = 20, 60.0, 4, 1
# Processes that only compute, one more than there are cores: how slow a call is on a machine that is merely busy.
COMPUTING = (os.cpu_count() or 1) + 1
LIMIT_MB, GIVE_UP_SECONDS = 512, 30.0
QUEUE = "ours"
INSERT = "INSERT INTO haulier.job (kind, payload, queue) VALUES ('started', jsonb_build_object('n', %s), %s)"
FIRST_INSERTED = 1_000_000


@dataclass(frozen=True)
class Beside:
    """What goes on beside the caller.

    Shape: without moves, the connections are those of one that does its worst with a key that may enqueue; fill is the
           SQL of what is stored before. Units: seconds at full size.
    """

    connections: int = 0
    moves: Sequence[str] = ()
    computing: int = 0
    fill: str = ""
    seconds: float = SECONDS


def entries() -> list[Entry]:
    """Return the caller alone, beside computing programs, and beside the abuser."""
    return [
        entry("haulier", "alone", Beside()),
        entry("limit", f"beside {COMPUTING} programs that only compute", Beside(computing=COMPUTING)),
        entry("haulier-beside", "beside one that does its worst", Beside(ABUSERS)),
    ]


def entry(name: str, label: str, beside: Beside) -> Entry:
    """Return the row of the caller beside this."""
    missing = None if Path("/proc/self/status").exists() else "there is no /proc"
    settings = {"per_second": PER_SECOND, "seconds": beside.seconds, "seed": SEED, "connections": beside.connections}
    return Entry(name, label, partial(once, beside), missing, settings=settings)


def once(beside: Beside, bench: Bench) -> Figures:
    """Let a caller enqueue at an even pace, and look at its answers, at its jobs' starts and at the processes."""
    seconds = max(2.0, beside.seconds * bench.scale)
    with Haulier().home(bench.server) as url, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        good, bad = _key(url, "good", "enqueue"), _key(url, "bad", "admin" if beside.moves else "enqueue")
        _fill(url, beside.fill)
        path, port = Path(folder, "notes"), free_port()
        said: dict[str, int] = {}
        with _service(url, port, Path(folder)) as (web, worker):
            before = family(web) | family(worker)
            with Memory({"web": web, "worker": worker}) as memory, ExitStack() as abuse:
                if beside.computing:
                    commands = [[PYTHON, "-c", "while True: pass"]] * beside.computing
                    abuse.enter_context(processes(commands, {}, log=Path(folder, "computing")))
                if beside.connections:
                    bad_calls = abused(port, bad, seed=SEED, threads=beside.connections, moves=beside.moves)
                    said = abuse.enter_context(bad_calls)
                posts = abuse.enter_context(closing(Posts(port, good)))
                inserted = abuse.enter_context(inserts(url, seconds))
                took = paced(posts, seconds)
            committed = posts.committed
            with suppress(TookTooLong):
                until(lambda: committed.keys() <= begun(path), within=GIVE_UP_SECONDS, what="all have run")
            begun_at = {note.n: note.at for note in notes.read(path)}
            gone = len(before - family(web) - family(worker))
        waits = [begun_at.get(n, time.monotonic()) - at for n, at in committed.items()]
    return {
        "failed": posts.failed,
        **percentiles("post", took),
        **percentiles("insert", inserted),
        **percentiles("start", waits),
        "web_mb": round(memory.most["web"], 1),
        "worker_mb": round(memory.most["worker"], 1),
        "gone": gone,
        "abuses_answered": sum(said.values()),
    }


@contextmanager
def _service(url: str, port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the process ids of an API and a worker with default settings."""
    env = {
        "DATABASE_URL": url,
        "HAULIER_KINDS": "lab.bench.kinds",
        "PYTHONPATH": str(ROOT),
        "API_BIND_ADDR": f"127.0.0.1:{port}",
        "STORAGE_URL": f"file://{folder}/store",
        "WORKER_METRICS_PORT": str(free_port()),
        "BENCH_NOTES": str(folder / "notes"),
    }
    commands = [[PYTHON, "-m", "gunicorn", "app:create_app()"], [PYTHON, "worker.py"]]
    with processes(commands, env, log=folder / "log") as started:
        until(alive(started, partial(answers, port, "/health")), within=30, what="the API answers")
        yield started[0].pid, started[1].pid


def begun(path: Path) -> set[int]:
    """Return which of the jobs have started."""
    return {note.n for note in notes.read(path)}


def paced(call: Callable[[int], None], seconds: float) -> list[float]:
    """Make one call after the other, and return how long each took.

    A call that is late begins at once, and its time counts from when it was due, so that a stall is counted in full.
    """
    took = []
    began = time.monotonic()
    for n in range(1, int(seconds * PER_SECOND) + 1):
        due = began + n / PER_SECOND
        pause(max(0.0, due - time.monotonic()))
        call(n)
        took.append(time.monotonic() - due)
    return took


class Posts:
    """One caller's POSTs. Shape: committed has the time of each answer; failed counts those that were not accepted."""

    def __init__(self, port: int, token: str) -> None:
        self._conn = HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.committed: dict[int, float] = {}
        self.failed = 0

    def __call__(self, n: int) -> None:
        """Enqueue one job."""
        job = {"kind": "started", "payload": {"n": n}, "queue": QUEUE}
        try:
            self._conn.request("POST", "/jobs", json.dumps(job), self._headers)
            answer = self._conn.getresponse()
            answer.read()
            is_taken = answer.status == 202 or answer.status == 201
        except OSError:
            self._conn.close()
            is_taken = False
        if is_taken:
            self.committed[n] = time.monotonic()
        self.failed += not is_taken

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()


@contextmanager
def inserts(url: str, seconds: float) -> Iterator[list[float]]:
    """Enqueue at the same pace by SQL during the block, without the API, to show what the server alone takes."""
    took: list[float] = []

    def insert() -> None:
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            took.extend(paced(lambda n: cursor.execute(INSERT, (n + FIRST_INSERTED, QUEUE)), seconds))

    thread = threading.Thread(target=insert, name="inserts", daemon=True)
    thread.start()
    yield took
    thread.join()


def percentiles(name: str, seconds: Sequence[float]) -> Figures:
    """Return the median and the 99th percentile. Units: milliseconds."""
    ordered = sorted(max(0.0, 1000 * each) for each in seconds) or [0.0]
    return {
        f"{name}_p50_ms": round(statistics.median(ordered), 2),
        f"{name}_p99_ms": round(ordered[len(ordered) * 99 // 100], 2),
    }


class Memory:
    """The most memory that each process has had together with its children. Units: megabytes of 2**20 bytes."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.most = dict.fromkeys(pids, 0.0)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            for name, pid in self._pids.items():
                self.most[name] = max(self.most[name], sum(proportional(each) for each in family(pid)))


def proportional(pid: int) -> float:
    """Return a process's memory, with its part of what it shares (PSS); 0 when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def family(pid: int) -> set[int]:
    """Return the process and all its descendants."""
    return {*descendants(pid), *([pid] if Path(f"/proc/{pid}").exists() else [])}


def _fill(url: str, statements: str) -> None:
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        if statements:
            cursor.execute(statements)
            cursor.execute("ANALYZE")


def _key(url: str, name: str, scope: str) -> str:
    command = [PYTHON, "-m", "haulier", "keys", "create", "--name", name, "--scopes", scope]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment(), "DATABASE_URL": url}, check=True, capture_output=True, text=True
    )
    return next(word for word in done.stdout.split() if word.startswith("hlr_"))


TABLES = [
    PageTable(
        figure("POST p50 ms", "post_p50_ms", 1),
        figure("p99 ms", "post_p99_ms", 1),
        figure("INSERT p50 ms", "insert_p50_ms", 1),
        figure("p99 ms", "insert_p99_ms", 1),
        figure("start p50 ms", "start_p50_ms", 1),
        figure("p99 ms", "start_p99_ms", 1),
        figure("not taken", "failed"),
        figure("web, MB", "web_mb"),
        figure("worker, MB", "worker_mb"),
        figure("processes ended", "gone"),
    )
]
TARGETS = [
    at_most("POST p99 beside / alone", ratio("post_p99_ms", "haulier-beside", "haulier"), 3),
    at_most("… of the INSERT", ratio("insert_p99_ms", "haulier-beside", "haulier"), 3),
    at_most("start p99 ms beside", figure_of("haulier-beside", "start_p99_ms"), 1000),
    at_most("not taken", figure_of("haulier-beside", "failed"), 0),
    at_most("web, MB", figure_of("haulier-beside", "web_mb"), LIMIT_MB),
    at_most("worker, MB", figure_of("haulier-beside", "worker_mb"), LIMIT_MB),
    at_most("processes ended", figure_of("haulier-beside", "gone"), 0),
]
