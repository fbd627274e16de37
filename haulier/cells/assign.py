"""Assigns a tenant, an API key, to another cell: copies its idempotency records, closes it here and opens it there."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from haulier.domain.errors import AssignmentRefused, SchemaMismatch
from haulier.postgres.statements import STATEMENT_SECONDS, Connection, Row, rows, transaction
from haulier.postgres.values import array
from haulier.queue.upkeep.migrate import check_schema, stored_version

RECORDS_AT_ONCE = 5000
COPY_SECONDS = 60.0
# An INSERT of the API may see the database as it was before, and not yet have the lock by which it is known. It is one
# statement, which the server ends by then. Longer transactions, such as a dump, need not be waited for.
UNDER_WAY_SECONDS = STATEMENT_SECONDS + 1.0
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.02
# A transaction has the time at which its first message came. It is a bit earlier than that at which others see it.
MARGIN = timedelta(minutes=5)


class Side(NamedTuple):
    """One of the two cells. `setting` is the one that names its database."""

    conn: Connection
    cell: int
    setting: str


def side_of(conn: Connection, setting: str, *, expected: int | None = None) -> Side:
    """Return the cell of this database, which is to be the expected one, if any. Raises: AssignmentRefused."""
    try:
        cell = check_schema(conn, cell=expected)
    except SchemaMismatch as error:
        raise AssignmentRefused(f"{setting}: {error}") from error
    if cell is None:
        raise AssignmentRefused(f"{setting}: its database has no number: run `haulier migrate` there with CELL set")
    [row] = rows(conn, "may_assign")
    if not row["is_allowed"]:
        raise AssignmentRefused(f"{setting}: its role may not write API keys: use the role that ran `haulier migrate`")
    return Side(conn, cell, setting)


def assign(giving: Side, taking: Side, key_id: str) -> Iterator[str]:
    """Have the other cell take the new jobs of the key, and yield each step that was done, in words.

    At no time do both take them. Whoever stops after any step may start again, in either direction.
    Raises: AssignmentRefused, before anything is changed; DatabaseUnavailable.
    """
    return _Assignment(giving, taking, key_id).steps()


class _Assignment(NamedTuple):
    giving: Side
    taking: Side
    key_id: str

    def steps(self) -> Iterator[str]:
        here, there = self.giving.cell, self.taking.cell
        self._check_sides()
        if not self._prepare():
            yield f"cell {there} takes the new jobs of {self.key_id} already; its copy in cell {here} is up to date"
            return
        yield f"copied the API key {self.key_id} to cell {there}, which does not accept new jobs with it yet"
        # Most records are copied while the key is open. Of transactions that begin after this time, all that were
        # committed meanwhile are copied once it is closed.
        since = _wait_for_open_transactions(self.giving) - MARGIN
        yield f"copied {self._copy_records():,} idempotency records"
        self._set(self.giving, moved_to=there, before=(None, there))
        yield f"closed it in cell {here}, which answers 503 to new jobs"
        _wait_for_open_transactions(self.giving)
        yield f"copied {self._copy_records(since):,} idempotency records of the last minutes"
        self._set(self.taking, moved_to=None, before=(there,))
        yield f"opened it in cell {there}"

    def _check_sides(self) -> None:
        giving, taking = self.giving, self.taking
        if giving.cell == taking.cell:
            raise AssignmentRefused(
                f"{giving.setting} and {taking.setting} are both cell {giving.cell}: set one to another cell"
            )
        versions = [stored_version(side.conn) for side in (giving, taking)]
        if versions[0] != versions[1]:
            raise AssignmentRefused(
                f"cell {giving.cell} has schema version {versions[0]}, cell {taking.cell} has {versions[1]}: run"
                " `haulier migrate` in the older one"
            )

    def _prepare(self) -> bool:
        """Copy the key to the other side, closed; return False if that takes its new jobs already."""
        with self._locked() as (ours, theirs):
            self._check_key(ours, theirs)
            row = ours
            if theirs is not None and theirs["moved_to"] is None:
                # Only where it is open can it be rotated.
                row = theirs
                rows(self.giving.conn, "put_key", whole=row["whole"], moved_to=ours["moved_to"])
                if ours["moved_to"] is not None:
                    return False
            rows(self.taking.conn, "put_key", whole=row["whole"], moved_to=self.giving.cell)
        return True

    def _check_key(self, ours: Row, theirs: Row | None) -> None:
        if theirs is not None and theirs["created_at"] != ours["created_at"] and theirs["hash"] != ours["hash"]:
            raise AssignmentRefused(
                f"cell {self.taking.cell} has another API key of the id {self.key_id}: create a new one"
            )
        if ours["moved_to"] not in (None, self.taking.cell):
            raise self._elsewhere(ours, self.giving)
        # One that has moved is open in the other cell, or closed in both if an earlier command was interrupted.
        if ours["moved_to"] and theirs is not None and theirs["moved_to"] not in (None, self.giving.cell):
            raise self._elsewhere(theirs, self.taking)

    def _elsewhere(self, key: Row, side: Side) -> AssignmentRefused:
        return AssignmentRefused(
            f"cell {key['moved_to']} takes the new jobs of {self.key_id}, not cell {side.cell}: set"
            f" {self.giving.setting} to the database of that cell"
        )

    def _set(self, side: Side, *, moved_to: int | None, before: Collection[int | None]) -> None:
        """Close the key on one side, or open it, if on ours it is as before, and closed on the other.

        Raises: AssignmentRefused if another command has changed that.
        """
        with self._locked() as (ours, theirs):
            if theirs is None or theirs["moved_to"] != self.giving.cell or ours["moved_to"] not in before:
                raise AssignmentRefused(
                    f"another command has assigned {self.key_id} in the meantime: run this one again"
                )
            # It may have been rotated since it was copied.
            rows(self.taking.conn, "put_key", whole=ours["whole"], moved_to=self.giving.cell)
            rows(side.conn, "assign_key", key_id=self.key_id, moved_to=moved_to, cell=self.taking.cell)

    @contextmanager
    def _locked(self) -> Iterator[tuple[Row, Row | None]]:
        """Lock the key on both sides, first in the lower cell, and give its row of each side.

        Raises: AssignmentRefused if it is not valid on both sides.
        """
        lower, higher = sorted((self.giving, self.taking), key=lambda side: side.cell)
        with transaction(lower.conn), transaction(higher.conn):
            keys = {cell: rows(conn, "lock_key_row", key_id=self.key_id) for conn, cell, _ in (lower, higher)}
            if not keys[self.giving.cell]:
                raise AssignmentRefused(f"cell {self.giving.cell} has no API key of the id {self.key_id}")
            for cell, found in keys.items():
                if any(not key["is_good"] for key in found):
                    raise AssignmentRefused(f"the API key {self.key_id} is revoked or expired in cell {cell}")
            yield keys[self.giving.cell][0], next(iter(keys[self.taking.cell]), None)

    def _copy_records(self, since: datetime | None = None) -> int:
        """Copy the idempotency records of the key, from this time on, and return how many these are."""
        # The character after the space.
        copied, after, before = 0, f"{self.key_id} ", f"{self.key_id}!"
        while page := rows(
            self.giving.conn,
            "records_of_key",
            seconds=COPY_SECONDS,
            after_record=after,
            before_record=before,
            since=since,
            limit=RECORDS_AT_ONCE,
            cell=self.giving.cell,
            other_cell=self.taking.cell,
        ):
            _put_records(self.taking, page)
            copied, after = copied + len(page), page[-1]["key"]
        return copied


def _wait_for_open_transactions(side: Side) -> datetime:
    """Wait until what was open has ended, but for what cannot enqueue, and return the time before the wait.

    Raises: AssignmentRefused if one does not end.
    """
    # Not by a lock on the table of jobs: all that came after it would wait, too.
    began, pause = time.monotonic(), threading.Event()
    [times] = rows(side.conn, "times", scope=None)
    waited_for = {row["transaction"] for row in rows(side.conn, "transactions_under_way")}
    while True:
        waited = time.monotonic() - began
        left = [row for row in rows(side.conn, "transactions_under_way") if row["transaction"] in waited_for]
        left = [row for row in left if row["has_looked"] or waited < UNDER_WAY_SECONDS]
        if not left:
            clock: datetime = times["clock"]
            return clock
        if waited > PATIENCE_SECONDS:
            raise AssignmentRefused(
                f"server process {left[0]['pid']} of cell {side.cell} has been enqueuing for a minute: end it with"
                f" `SELECT pg_terminate_backend({left[0]['pid']})`, and run this command again"
            )
        pause.wait(LOOK_SECONDS)


def _put_records(taking: Side, page: Sequence[Row]) -> None:
    rows(
        taking.conn,
        "put_records",
        seconds=COPY_SECONDS,
        keys=array(row["key"] for row in page),
        fingerprints=array(rf"\x{bytes(row['fingerprint']).hex()}" for row in page),
        ids=array(row["job_id"] for row in page),
        ats=array(row["created_at"].isoformat() for row in page),
        cells=array(row["cell"] for row in page),
    )
