"""Which statements a worker can send, as its source says, and how each is shown in a message on the wire."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from haulier.postgres.prepared import as_prepared
from haulier.postgres.sql_files import SQL
from haulier.queue.claims.settle import prepared

ROOT = Path(__file__).parents[2]

# Not made to fail here, and why. Whoever adds a statement adds it to what the scene brings about, or here.
LEFT_OUT = {
    "find_schema": "at the start, before there is anything to stop: the process leaves with one line of why",
    "schema_version": "as find_schema",
    "lock_schema": "only migrate sends it",
    "set_fingerprint": "only migrate sends it",
    "rollback": "follows a failure, and its own has no effect but another connection",
    "nothing": "only where a statement has taken all of its time, and its own failure is passed over",
    "unlisten": "only where no notification comes through",
    "detach_partition": "only behind a pool, or under a role that is not the owner's",
    "finish_detach": "only where a DETACH CONCURRENTLY was interrupted",
    "history_days_ahead": "/health asks for it",
    "lock_empty_database": "only before there is a schema",
    "holder_of_empty_database": "only before there is a schema",
    "oldest_user_of_tables": "only migrate sends it",
    "oldest_user_of_table": "only where a detach is pending",
    "lapsed": "only where a burial was refused: test_rows.py",
    "lanes_of": "only with WORKER_QUEUES, in the place of lanes",
    "lanes_of_and_operations": "as lanes_of, in the place of lanes_and_operations",
    "find_tagged": "only for an operation that looks for tags: tests/queue/search/test_find_ids.py",
    "count_by_kind": "a preview asks, which the API makes",
    "count_tagged_by_kind": "as count_by_kind",
    "arrivals": "only where an operation's look for a rare kind is long: tests/queue/search/test_bounded_scan.py",
    "leave_operations": "only while a process stops, and nobody waits for it: tests/worker/threads/test_operations.py",
    "delay_operation": "only where a chunk was refused: tests/queue/operations/test_operations.py",
    "cancel": "only the API acts on a single job",
    "change": "as cancel",
    "retry": "as cancel",
    "lock_jobs_first": "as cancel",
    "delete": "as cancel",
    "copy": "as cancel",
    "get_jobs": "the API looks at jobs; a worker only imports it, beside the acts of operations",
    "list_jobs": "as get_jobs",
    "count_jobs": "as get_jobs",
    "list_tagged": "as get_jobs",
    "count_tagged": "as get_jobs",
    "count_counted": "as get_jobs",
    "lock_ended": "begins as lock_live does, and on the wire is taken for that",
    "live_that_others_lock": "as lock_ended",
    "ended_that_others_lock": "as lock_ended",
    "cancel_all": "only where an operation finds jobs, of which the database may refuse each: test_batches.py",
    "change_all": "as cancel_all",
    "retry_all": "as cancel_all",
    "delete_all": "as cancel_all",
    "lose_operation": "only where the database was restored: tests/queue/operations/test_operation_bound.py",
    "heads": "only where there are more lanes than one look reads: tests/worker/lanes/test_scan.py",
    "find_paused": "only where jobs were claimed ahead: tests/worker/threads/test_heartbeat.py",
    "steps_begin": "only `haulier recount` sends it",
    "say_stopping": "only while the process stops, and nobody needs to know it: tests/worker/test_introduction.py",
    "due_schedules": "only if there are schedules; no job depends on it: tests/queue/schedules/test_firing.py",
    "live_of_schedules": "as due_schedules",
    "move_and_fire": "as due_schedules",
    "decide_apart": "as due_schedules",
    "put_off": "as due_schedules",
    "next_look": "as due_schedules",
    "undo_part": "only where counting was refused: test_batches.py",
    "pairs_of_span": "as undo_part",
    "pairs_of_rollups": "as undo_part",
    "pairs_that_live": "as undo_part",
    "end_without_payload": "only where a large orphan could not be moved for long: tests/worker/steps/test_rescue.py",
    "lock_next": "only where a claim was refused: test_rows.py",
}
# Not a statement of the .sql files, but sent: what makes the prepared ones.
PREPARE = "prepare"


def of_worker() -> list[str]:
    """Return the names of the statements in all that `worker.py` imports, in the order of the .sql files."""
    named = {
        node.value
        for path in _imported_by(ROOT / "worker.py")
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return [name for name in SQL if name in named]


def refusable() -> list[str]:
    """Return those of them that are made to fail."""
    return [*(name for name in of_worker() if name not in LEFT_OUT), PREPARE]


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported_by(entry: Path) -> set[Path]:
    found: set[Path] = set()
    to_read = [entry]
    while to_read:
        path = to_read.pop()
        if path not in found:
            found.add(path)
            to_read += _imports(path)
    rooms = [ROOT / "haulier" / "postgres", ROOT / "haulier" / "queue"]
    return {path for path in found if any(path.is_relative_to(room) for room in rooms)}


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(_parsed(path)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            place = ROOT / module.replace(".", "/")
            yield from (each for each in (place.with_suffix(".py"), place / "__init__.py") if each.exists())


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
