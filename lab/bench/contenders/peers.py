"""The peers, each run by a small script in lab/bench/peers at the fastest setting we found for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.bench.contenders.contender import Table, Watch
from lab.servers import Postgres, connect, redis
from lab.waiting import ROOT, environment, processes

PEERS = ROOT / "lab/bench/peers"
PYTHON = ROOT / ".venv-bench/bin/python"
ENQUEUE_SECONDS = 600


@dataclass(frozen=True)
class Peer:
    """Another project's queue. `options` go to its script, as words after the verb, the URL and the count."""

    name: str
    label: str
    script: str
    package: str
    table: Table | None = None
    processes: int = 1
    options: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings to record: its processes and its script's options."""
        return {"processes": self.processes, **self.options}

    @property
    def _is_node(self) -> bool:
        return self.script.endswith(".mjs")

    def missing(self) -> str | None:
        """Return what it lacks to run here."""
        if self._is_node and shutil.which("node") is None:
            return "node is not installed"
        if self._is_node and not (PEERS / "node_modules" / self.package).exists():
            return "not installed: make bench-setup"
        if not self._is_node and not PYTHON.exists():
            return "not installed: make bench-setup"
        if self.table is None and shutil.which("redis-server") is None:
            return "redis-server is not installed"
        return None

    def version(self) -> str:
        """Return the version that is installed."""
        if self._is_node:
            return str(json.loads((PEERS / "node_modules" / self.package / "package.json").read_text())["version"])
        program = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    def home(self, server: Postgres) -> AbstractContextManager[str]:
        """Yield the URL of a fresh database, prepared by the peer's own tools, or of a fresh Redis."""
        if self.table is None:
            return _redis_url()
        # A template for each engine: a database that one engine has set up lacks the tables of the other.
        kept = " ".join([self.name, *([str(self.options["engine"])] if "engine" in self.options else [])])
        return server.fresh(kept, lambda url: self._run("setup", url))

    def fill(self, url: str, jobs: int) -> None:
        """Enqueue no-op jobs by the peer's own call."""
        self._run("enqueue", url, jobs)

    def enqueue(self, url: str, jobs: int) -> float:
        """Enqueue no-op jobs by the peer's own call for many; return the seconds that took, without connecting."""
        return float(json.loads(self._run("enqueue", url, jobs).splitlines()[-1])["seconds"])

    @contextmanager
    def working(
        self, url: str, *, notes: Path | None = None, log: Path | None = None
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Yield running workers."""
        env = {"BENCH_NOTES": str(notes or "/dev/null")}
        with processes([self._command("work", url)] * self.processes, env, cwd=PEERS, log=log) as started:
            yield started

    @contextmanager
    def watching(self, url: str) -> Iterator[Watch]:
        """Yield a watch over its table, or its lists in Redis."""
        if self.table is None:
            yield RedisWatch(url, str(self.options["lists"]))
            return
        with closing(connect(url)) as conn:
            yield self.table.watch(conn)

    def _command(self, verb: str, url: str, jobs: int = 0) -> list[str]:
        runtime = "node" if self._is_node else str(PYTHON)
        words = (f"{name}={value}" for name, value in self.options.items() if name != "lists")
        return [runtime, str(PEERS / self.script), verb, url, str(jobs), *words]

    def _run(self, verb: str, url: str, jobs: int = 0) -> str:
        done = subprocess.run(
            self._command(verb, url, jobs),
            cwd=PEERS,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=ENQUEUE_SECONDS,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name} {verb}: {done.stderr.strip()[-800:]}")
        return done.stdout


class RedisWatch:
    """A watch over the keys that hold a peer's unfinished jobs; reading their lengths costs almost nothing."""

    def __init__(self, url: str, lists: str) -> None:
        import redis as client  # only installed in the bench's environment, and only needed for peers on Redis

        self._redis = client.Redis.from_url(url)
        self._lists = lists.split()
        self._jobs = self._waiting()

    def has_begun(self) -> bool:
        """Return whether the first job has been taken."""
        return self._waiting() < self._jobs

    def has_ended(self) -> bool:
        """Return whether no list holds a job."""
        return sum(self._lengths()) == 0

    def _waiting(self) -> int:
        return self._lengths()[0]

    def _lengths(self) -> list[int]:
        return [sum(self._length(key) for key in self._keys(name)) for name in self._lists]

    def _keys(self, name: str) -> list[str | bytes]:
        return list(self._redis.scan_iter(name, count=1000)) if "*" in name else [name]

    def _length(self, key: str | bytes) -> int:
        measures = {b"list": self._redis.llen, b"hash": self._redis.hlen, b"zset": self._redis.zcard}
        measure = measures.get(self._redis.type(key))
        return int(measure(key)) if measure is not None else 0


@contextmanager
def _redis_url() -> Iterator[str]:
    with redis() as port:
        yield f"redis://127.0.0.1:{port}/0"


GRAPHILE = Table("graphile_worker._private_jobs", ("priority", "run_at", "id"), "locked_at IS NULL")
PG_BOSS = Table(
    "pgboss.job", ("priority DESC", "created_on", "id"), "state < 'active'", "state <= 'active'", jobs="name = 'noop'"
)
PGQUEUER = Table("pgqueuer", ("priority DESC", "id"), "status = 'queued'")
PROCRASTINATE = Table("procrastinate_jobs", ("priority DESC", "id"), "status = 'todo'", "status IN ('todo', 'doing')")
AWA = Table("awa.jobs_hot", ("priority", "run_at", "id"), "state = 'available'", "state IN ('available', 'running')")

FASTEST = {"concurrency": 10, "localQueue": 500, "completeDelay": 0}
graphile = Peer("graphile-worker", "graphile-worker", "graphile.mjs", "graphile-worker", GRAPHILE, options=FASTEST)
pg_boss = Peer(
    "pg-boss", "pg-boss", "pgboss.mjs", "pg-boss", PG_BOSS, options={"batch": 1000, "fetchers": 2}
)  # fmt: skip
pgqueuer = Peer("pgqueuer", "PgQueuer", "pgqueuer_peer.py", "pgqueuer", PGQUEUER, options={"batch": 100})
procrastinate = Peer(
    "procrastinate",
    "procrastinate",
    "procrastinate_peer.py",
    "procrastinate",
    PROCRASTINATE,
    options={"concurrency": 10},
)
# awa drains fastest with the engine "canonical", which it keeps if there are jobs before its first worker. Enqueue
# and wake-ups are measured with "queue_storage", to which its first worker switches an empty database.
awa = Peer("awa", "awa", "awa_peer.py", "awa-pg", AWA, options={"workers": 256, "engine": "canonical"})
awa_queue_storage = replace(
    awa, name="awa-queue-storage", label="awa, queue storage", options={"workers": 256, "engine": "queue_storage"}
)
bullmq = Peer(
    "bullmq", "BullMQ", "bullmq.mjs", "bullmq", options={"concurrency": 50, "lists": "bull:b:wait bull:b:active"}
)  # fmt: skip
celery = Peer("celery", "Celery", "celery_peer.py", "celery", options={"processes": 2, "lists": "celery unacked"})
dramatiq = Peer(
    "dramatiq", "Dramatiq", "dramatiq_peer.py", "dramatiq",
    options={"processes": 2, "threads": 8, "lists": "dramatiq:default dramatiq:__acks__.*.default"},
)  # fmt: skip
rq = Peer("rq", "RQ", "rq_peer.py", "rq", processes=2, options={"lists": "rq:queue:default rq:wip:default"})
