"""How callers that keep the service busy, without large bodies, affect all others."""

from __future__ import annotations

from lab.bench.harness import Entry
from lab.bench.measures.worst_caller import Beside, entry
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, ratio

NAME = "busy_caller"
TITLE = "Another caller's jobs, 20 a second, beside callers that keep the service busy"

SECONDS = 20.0
# How many connections each has, and what it does; each is compared with as many that make cheap calls.
BUSY = {
    "dry_runs": (24, "24 previews of all of 120,000 jobs"),
    "searches": (24, "24 searches of 100,000 groups of errors"),
    "scrapes": (8, "8 scrapers of the metrics"),
    "sign_ins": (3, "3 who sign in with wrong keys"),
}
FILL = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', jsonb_build_object('n', n), 'q' || mod(n, 50), now() + interval '1 day'
    FROM generate_series(1, 120000) AS n;
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'noop', 'ConnectTimeout: ' || repeat('hooks.example.net did not answer; ', 3) || n, 'x',
        haulier.uuidv7(), 'q1', now() - interval '8 days'
    FROM generate_series(1, 100000) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_trunc('minute', now()) - interval '5 minutes', 'q1', 0, 1, 1 FROM generate_series(1, 100000) AS n
"""


def entries() -> list[Entry]:
    """Return the caller beside each of these, and before it beside as many that make cheap calls."""
    rows = []
    for move, (connections, label) in BUSY.items():
        for name, text, made in ((f"gets-{move}", f"{connections} who read the kinds", "gets"), (move, label, move)):
            rows.append(entry(name, f"beside {text}", Beside(connections, [made], fill=FILL, seconds=SECONDS)))
    return rows


TABLES = [
    PageTable(
        figure("POST p50 ms", "post_p50_ms", 1),
        figure("p99 ms", "post_p99_ms", 1),
        figure("INSERT p99 ms", "insert_p99_ms", 1),
        figure("not taken", "failed"),
        figure("their calls", "abuses_answered"),
    )
]
TARGETS = [
    at_most(f"POST p99 beside {label} / beside cheap calls", ratio("post_p99_ms", move, f"gets-{move}"), 3)
    for move, (_, label) in BUSY.items()
]
