"""Ask the API of every cell how it is, all at the same time, each with a short deadline."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any

from haulier.cells.cells_toml import Cell, Cells

# Of each step of a call, such as to connect; and of all that is asked of a cell.
STEP_SECONDS, ALL_SECONDS = 1.0, 2.0
MOST_BYTES, MOST_TEXT, MOST_WARNINGS = 1024 * 1024, 300, 10
SPAN = "1h"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The figures of a cell, as its worker has counted them. `failed`: failed permanently in the last hour."""

    due: int
    oldest_due_seconds: float | None
    failed: int
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class CellReport:
    """What the API of a cell has answered.

    Args:
        is_up: Whether it answers and can take jobs. None: it did not answer, so nothing is known.
        faults: What is wrong, and why something is unknown; each a sentence without its full stop.
        numbers: None: unknown.
    """

    cell: Cell
    is_up: bool | None
    faults: tuple[str, ...] = ()
    version: str | None = None
    numbers: Numbers | None = None


# What Python raises if the parts of an answer are missing, too deep, or of another type or size.
MISSHAPEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Calls:
    """The calls of one look at all cells, which end with it.

    Otherwise a server that sends a byte now and then would hold its thread for days, and each look would add one.
    """

    def __init__(self) -> None:
        self.are_over = False
        self._sockets: list[socket.socket] = []

    def add(self, opened: socket.socket) -> None:
        """Note a socket, for `end`. Raises: TimeoutError if that has been called."""
        self._sockets.append(opened)
        # First noted, then looked at: `end` does it the other way round, so that one of the two sees the other.
        if self.are_over:
            raise TimeoutError

    def end(self) -> None:
        """Cut every connection."""
        self.are_over = True
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Line(HTTPConnection):
    """A connection to a server of a cell. It opens itself again if the server has closed it after a call."""

    def __init__(self, server: str, calls: _Calls) -> None:
        host, _, port = server.rpartition(":")
        super().__init__(host.strip("[]"), int(port), timeout=STEP_SECONDS)
        self._calls = calls

    def connect(self) -> None:
        """Open it. Raises: OSError."""
        super().connect()
        self._calls.add(self.sock)


def ask_cells(file: Cells, key: str | None) -> list[CellReport]:
    """Return the report of each cell, by number, after ALL_SECONDS at most.

    Args:
        key: The API key that reads the numbers, which must be the same in every cell. None: they stay unknown.
    """
    cells, calls = file.cells, _Calls()
    pool = ThreadPoolExecutor(max_workers=len(cells), thread_name_prefix="haulier-cell")
    try:
        futures = [pool.submit(_ask, cell, calls, key, needs_number=cell.number != file.default) for cell in cells]
        wait(futures, timeout=ALL_SECONDS)
        late = f"it has not answered within {ALL_SECONDS:g} s"
        return [
            future.result() if future.done() else CellReport(cell, None, (late,))
            for cell, future in zip(cells, futures, strict=True)
        ]
    finally:
        calls.end()
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(cell: Cell, calls: _Calls, key: str | None, *, needs_number: bool) -> CellReport:
    """Return the report by the first server of the cell that answers."""
    faults = []
    for server in cell.servers:
        if calls.are_over:
            break
        try:
            with closing(_Line(server, calls)) as conn:
                return _report(cell, conn, key, needs_number=needs_number)
        except OSError as error:
            faults.append(f"{server} does not answer: {error.strerror or error}")
        except (HTTPException, *MISSHAPEN):
            faults.append(f"{server} answers, but not like Haulier")
    return CellReport(cell, None, tuple(faults))


def _report(cell: Cell, conn: HTTPConnection, key: str | None, *, needs_number: bool) -> CellReport:
    status, health = _get(conn, "/health", None)
    number, is_up = health.get("cell"), status == 200
    if number not in (None, cell.number):
        return CellReport(cell, False, (f"the API at {conn.host}:{conn.port} says that it is cell {number!s:.10}",))
    faults = list(health.get("warnings", ())[:MOST_WARNINGS] if is_up else (health["message"],))
    if is_up and number is None and needs_number:
        faults.append(f"its ids lead to the default cell: run `haulier migrate` there with CELL={cell.number}")
    numbers, unknown = _numbers(conn, key) if is_up else (None, ())
    version = health.get("version")
    texts = tuple(str(fault)[:MOST_TEXT] for fault in (*faults, *unknown))
    return CellReport(cell, is_up, texts, None if version is None else str(version)[:MOST_TEXT], numbers)


def _numbers(conn: HTTPConnection, key: str | None) -> tuple[Numbers | None, tuple[str, ...]]:
    """Return the numbers, or why they are unknown."""
    if key is None:
        return None, ("its numbers are unknown: set HAULIER_API_KEY, to the same key in every cell",)
    status, stats = _get(conn, f"/stats?span={SPAN}", key)
    if status != 200:
        why = "is its HAULIER_API_KEY the same as here?" if status == 401 else stats["message"]
        return None, (f"its numbers are unknown: {why}",)
    if stats["counted_at"] is None:
        return None, ("its numbers are unknown: no worker with COUNTING=on has run",)
    due, oldest, failed = stats["due"], stats["oldest_due_seconds"], stats["totals"]["failed"]
    # A timedelta is never infinite, and an instant in UTC never without a zone: pages can show both.
    oldest = None if oldest is None else timedelta(seconds=oldest).total_seconds()
    counted_at = datetime.fromisoformat(stats["counted_at"]).astimezone(UTC)
    return Numbers(int(due), oldest, int(failed), counted_at), ()


def _get(conn: HTTPConnection, path: str, key: str | None) -> tuple[int, dict[str, Any]]:
    """Return the status and the body. Raises: OSError; HTTPException; MISSHAPEN."""
    conn.request("GET", path, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    response = conn.getresponse()
    body = json.loads(response.read(MOST_BYTES))
    return response.status, dict(body)
