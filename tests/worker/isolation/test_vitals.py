"""What heartbeats say of isolated processes. They ..."""

from __future__ import annotations

import os
import signal

from haulier.domain.vitals import FULL, KILLED, IsolatedEnds, Vitals, read_vitals
from haulier.worker.isolation.ends import Ends
from tests.conftest import eventually

KINDS = {"HAULIER_KINDS": "kinds_of_tests,isolated_kinds"}


def test_count_what_died_by_kind_and_reason_and_measure_what_runs(spawn_worker, enqueue, finished, sql):
    spawn_worker(**KINDS, LEASE_SECONDS=1, ISOLATED_PROCESSES=1, ISOLATED_MEMORY_MB=200)
    finished(enqueue("i.dies", {"which": "SIGKILL"}, max_attempts=1))
    finished(enqueue("i.takes", {"megabytes": 400}, max_attempts=1))
    kept = finished(enqueue("i.note", {"seconds": 0})).result

    def said() -> Vitals | None:
        [(stored,)] = sql("SELECT vitals FROM haulier.worker")
        return read_vitals(stored)

    measured = eventually(lambda: (found := said()) and found.isolated and found.isolated[0].cpu is not None and found)
    os.kill(kept["pid"], signal.SIGKILL)

    [process] = measured.isolated
    assert (process.kind, process.pid) == ("i.note", kept["pid"])
    assert 2**22 < process.memory < 200 * 2**20
    assert (measured.isolated_ended, set(measured.ends)) == (
        2,
        {IsolatedEnds("i.dies", KILLED, 1), IsolatedEnds("i.takes", FULL, 1)},
    )
    # Also one that dies while it has nothing to do.
    assert eventually(lambda: (found := said()) and IsolatedEnds("i.note", KILLED, 1) in found.ends)


def test_hold_no_text_that_the_database_refuses(sql):
    ends = Ends(lambda _: None)

    ends.add("pdf", "cannot run pdf: a\x00b\udcff" + 500 * "x")

    [(stored,)] = sql("SELECT %s::jsonb", Vitals(ends=ends.lately()[0]).text)
    [end] = read_vitals(stored).ends
    assert (end.how[:16], len(end.how), end.times) == ("cannot run pdf: ", 100, 1)
