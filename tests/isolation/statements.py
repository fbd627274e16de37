"""Which statements a worker can send, as its source says, and how each is shown in a message on the wire."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from haulier.postgres.prepared import as_prepared
from haulier.postgres.sql_files import SQL
from haulier.queue.claims.settle import prepared
from tests.architecture import reading
from tests.architecture.reading import OURS

# Not made to fail here, and why. Whoever adds a statement adds it to what the scene brings about, or here.
_LEFT_OUT = {
    "at the start, before there is anything to stop: the process leaves with one line of why":
        "find_schema schema_version",
    "only migrate sends it": "lock_schema set_cell find_move set_fingerprint oldest_user_of_tables partitions_to_make",
    "follows a failure, and its own has no effect but another connection": "rollback",
    "only where a statement has taken all of its time, and its own failure is passed over": "nothing",
    "only where no notification comes through": "unlisten",
    "only behind a pool, or under a role that is not the owner's": "detach_partition",
    "only where a DETACH CONCURRENTLY was interrupted": "finish_detach",
    "/health asks for it": "history_days_ahead",
    "pages ask for it; a worker only imports it, beside what notes its own deployment": "list_deployments",
    "only before there is a schema": "lock_empty_database holder_of_empty_database",
    "only where a detach is pending": "oldest_user_of_table",
    "only where a burial was refused: test_rows.py": "lapsed",
    "only with WORKER_QUEUES, in the place of lanes": "lanes_of",
    "as lanes_of, in the place of lanes_and_operations": "lanes_of_and_operations",
    "only for an operation that looks for tags: tests/queue/search/test_find_ids.py": "find_tagged",
    "a preview asks, which the API makes, and an operation whose preview could not count all: test_operations.py":
        "count_by_kind count_tagged_by_kind note_count",
    "only before find_jobs in its message, if an operation wants live jobs: tests/queue/search": "find_by_index",
    "only where an operation's look for a rare kind is long: tests/queue/search/test_bounded_scan.py": "arrivals",
    "only while a process stops, and nobody waits for it: tests/worker/threads/test_operations.py": "leave_operations",
    "only where a chunk was refused: tests/queue/operations/test_operations.py": "delay_operation",
    "only the API acts on a single job": "cancel change retry lock_jobs_first delete copy",
    "the API looks at jobs; a worker only imports it, beside the acts of operations":
        "get_jobs list_jobs count_jobs list_tagged count_tagged count_counted newest_ended_badly",
    "begins as lock_live does, and on the wire is taken for that":
        "lock_ended live_that_others_lock ended_that_others_lock",
    "only where an operation finds jobs, of which the database may refuse each: test_batches.py":
        "cancel_all change_all retry_all delete_all",
    "only where the database was restored: tests/queue/operations/test_operation_bound.py": "lose_operation",
    "only where there are more lanes than one look reads: tests/worker/lanes/test_scan.py": "heads",
    "only where jobs were claimed ahead: tests/worker/threads/test_heartbeat.py": "find_paused",
    "only `haulier recount` sends it": "steps_begin",
    "only while the process stops, and nobody needs to know it: tests/worker/test_shutdown.py": "say_stopping",
    "only if there are schedules; no job depends on it: tests/queue/schedules/test_firing.py":
        "due_schedules live_of_schedules move_and_fire decide_apart put_off next_look",
    "only where counting was refused: test_batches.py": "undo_part pairs_of_span pairs_of_rollups pairs_that_live",
    "only where a large orphan could not be moved for long: tests/worker/steps/test_rescue.py": "end_without_payload",
    "only where a claim was refused: test_rows.py": "lock_next",
}  # fmt: skip
LEFT_OUT = {name: why for why, names in _LEFT_OUT.items() for name in names.split()}
# Not a statement of the .sql files, but sent: what makes the prepared ones.
PREPARE = "prepare"


def of_worker() -> list[str]:
    """Return the names of the statements in all that `worker.py` imports, in the order of the .sql files."""
    files: set[str] = set()
    to_read = ["worker.py"]
    while to_read:
        name = to_read.pop()
        if name not in files:
            files.add(name)
            to_read += [OURS[module] for module in reading.named(name) if module in OURS]
    texts = {
        node.value
        for name in files
        if name.startswith(("haulier/postgres/", "haulier/queue/"))
        for node in ast.walk(reading.parse(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return [name for name in SQL if name in texts]


def refusable() -> list[str]:
    """Return those of them that are made to fail."""
    return [*(name for name in of_worker() if name not in LEFT_OUT), PREPARE]


def _patterns() -> Iterator[tuple[str, str]]:
    """Yield each statement's name and how it begins in a message, as a pattern: up to its first parameter."""
    for name, text in SQL.items():
        beginning = re.split(r"%\(|%%", text)[0]
        yield name, re.escape(beginning).replace(r"\{name\}", r'"[^"]+"(?:\."[^"]+")?')
    for name in prepared.names:
        yield f"{name}_prepared", re.escape(as_prepared(name)[1].split("(")[0] + "(")
    yield PREPARE, "PREPARE haulier_"


# Where a statement can begin: with the message, or behind the one before. The longest first: `bounded` begins as
# `read_committed` does.
_STATEMENT = re.compile(
    r"(?:\A|(?<=;))\s*(?:"
    + "|".join(f"(?P<{name}>{pattern})" for name, pattern in sorted(_patterns(), key=lambda each: -len(each[1])))
    + ")"
)


def found_in(message: str) -> list[tuple[str, int]]:
    """Return the names of the statements in this message, in order, and where each begins."""
    found = [(str(match.lastgroup), match) for match in _STATEMENT.finditer(message)]
    return [(group.removesuffix("_prepared"), match.start(group)) for group, match in found]
