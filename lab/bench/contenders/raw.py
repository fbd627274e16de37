"""The raw limit: pgbench, written in C, sends the statements of Haulier's worker and nothing else."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from haulier.postgres.sql_files import SQL
from haulier.queue.claims.claim import MEASURE_SECONDS, MOST_BYTES
from lab.bench.contenders import haulier
from lab.bench.contenders.contender import TableWatch
from lab.servers import Postgres, connect, tool
from lab.waiting import processes

# The variables that a script keeps from one claim to its next message, as text: arrays for the settle and a mark for
# the claim. Each with its value when there was nothing to claim.
REMEMBERED = {
    "ids": ("array_agg(id)", "{}"),
    "attempts": ("array_agg(attempt)", "{}"),
    "claims": ("array_agg(claim)", "{}"),
    "nothing": ("array_agg(NULL::text)", "{}"),
    "mark": ("array_agg(run_at) FILTER (WHERE number = 1)", "{2000-01-01}"),
    "mark_id": ("array_agg(id) FILTER (WHERE number = 1)", f"{{{uuid.UUID(int=0)}}}"),
}
# The jobs of the new claim, and the jobs that the settle in the same message skipped: their rows were locked.
HELD = """(
    SELECT number, id, attempt, claim, run_at FROM claimed
    UNION ALL
    SELECT NULL, id, attempt, claim, NULL
    FROM unnest(':ids'::uuid[], ':attempts'::integer[], ':claims'::uuid[])
        WITH ORDINALITY AS old (id, attempt, claim, n)
    WHERE substr(current_setting('haulier.settled'), n::integer, 1) = '-'
) AS held"""
EVERY_MILLISECONDS = {"milliseconds": 5000, "lock_milliseconds": 3000, "idle_milliseconds": 10_000}


@dataclass(frozen=True)
class Raw:
    """pgbench clients that settle their last batch and claim the next one in one message."""

    name: str = "raw"
    label: str = "raw limit: the same SQL by pgbench"
    batch: int = 1000
    clients: int = 4

    @property
    def settings(self) -> Mapping[str, object]:
        """Return the settings to record."""
        return {"batch": self.batch, "clients": self.clients}

    def missing(self) -> str | None:
        """Return what this machine lacks, or None."""
        return None if tool("pgbench") else "pgbench is not installed"

    def version(self) -> str:
        """Return an empty string: pgbench has the server's version."""
        return ""

    def home(self, server: Postgres) -> AbstractContextManager[str]:
        """Yield a database with Haulier's schema."""
        return haulier.Haulier().home(server)

    def fill(self, url: str, jobs: int) -> None:
        """Put no-op jobs into Haulier's table."""
        haulier.fill(url, jobs)

    def enqueue(self, url: str, jobs: int) -> float:
        """COPY the jobs into the table by one statement."""
        lines = io.StringIO("".join(f'noop\t{{"n": {n}}}\n' for n in range(jobs)))
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            began = time.perf_counter()
            cursor.copy_expert("COPY haulier.job (kind, payload) FROM STDIN", lines)
            return time.perf_counter() - began

    @contextmanager
    def working(self, url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Yield a running pgbench, which goes on until it is stopped."""
        worker = str(uuid.uuid4())
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute(
                "INSERT INTO haulier.worker (id, host, pid, threads, lease) VALUES (%s, 'raw', 1, 1, '1 hour')",
                (worker,),
            )
        with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
            path = Path(folder, "exchange.sql")
            path.write_text(script(worker, self.batch))
            command = [str(tool("pgbench")), "--no-vacuum", "--time=600", f"--client={self.clients}", "--jobs=2"]
            with processes([[*command, f"--file={path}", f"--dbname={url}", *remembered_nothing()]]) as started:
                yield started

    def watching(self, url: str) -> AbstractContextManager[TableWatch]:
        """Yield Haulier's watch."""
        return haulier.Haulier().watching(url)


def remembered_nothing() -> list[str]:
    """Return pgbench's options for a script that has not claimed anything yet."""
    return [f"--define={name}={nothing}" for name, (_, nothing) in REMEMBERED.items()]


def script(worker: str, batch: int) -> str:
    r"""Return pgbench's script: one message that settles in one transaction and claims in another.

    Source: haulier/queue/claims/claim.py, `settle_and_claim`; PostgreSQL manual, pgbench, "\;" and "\gset".
    """
    settle = {
        "ids": "':ids'",
        "attempts": "':attempts'",
        "claims": "':claims'",
        "results": "':nothing'",
    }
    claim = {
        "worker": f"'{worker}'::uuid",
        "claim": "(SELECT gen_random_uuid())",
        "queues": "'{default}'",
        "priorities": "'{0}'",
        "marks": "':mark'",
        "mark_ids": "':mark_id'",
        "passed_over": "'{}'",
        "most_bytes": str(MOST_BYTES),
        "measure": str(MEASURE_SECONDS),
        "limit": str(batch),
        "free": str(batch),
        "suspect": "false",
    }
    message = [
        _filled("begin", EVERY_MILLISECONDS),
        _filled("one_plan_by_index", {}),
        _filled("settle_completed", settle),
        _filled("commit", {}),
        _filled("read_committed", {}),
        _filled("claim_by_index", EVERY_MILLISECONDS),
        _only_ids(_filled("claim", claim)),
    ]
    return " \\;\n".join(message) + " \\gset\n"


def _filled(name: str, values: Mapping[str, object]) -> str:
    """Return a statement of the .sql files, with values for its parameters and without comments."""
    text = re.sub(r"^\s*--.*\n?", "", SQL[name], flags=re.MULTILINE).strip().rstrip(";")
    text = re.sub(r"%\((\w+)\)s", lambda found: str(values[found[1]]), text).replace("%%", "%")
    return text.replace(";", " \\;")


def _only_ids(claim: str) -> str:
    """Return the claim, changed so that it returns one row with the script's variables in place of the jobs."""
    head, found, _ = claim.rpartition("\n)\nSELECT (SELECT count(*) FROM locked) AS number")
    head, returning, returned = head.partition("RETURNING best.number, ")
    if not (found and returning):
        raise ValueError("the claim in claim.sql is no longer of the form that the raw limit knows")
    columns = ", ".join(
        f"coalesce(({aggregate})::text, '{nothing}') AS {name}" for name, (aggregate, nothing) in REMEMBERED.items()
    )
    return f"{head}{returning}claim, {returned}\n)\nSELECT {columns} FROM {HELD}"
