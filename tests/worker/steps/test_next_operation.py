"""When the next operation is due: it ..."""

from __future__ import annotations

import threading
import time

import pytest

from haulier.worker.steps.operate import NextOperation
from tests.conftest import PATIENCE


def test_waits_until_one_is_due_and_forgets_it():
    due = NextOperation()
    due.seen(0.05)
    began = time.monotonic()

    assert due.wait()
    assert time.monotonic() - began >= 0.05
    due.close()
    assert not due.wait()


@pytest.mark.parametrize("seconds", [None, 3600.0])
def test_ends_the_wait_for_a_sooner_operation_and_for_the_close(seconds):
    due, heard = NextOperation(), []
    due.seen(seconds)
    waiting = threading.Thread(target=lambda: heard.extend([due.wait(), due.wait()]))
    waiting.start()

    due.seen(-1.0)
    due.close()
    waiting.join(PATIENCE)

    assert not waiting.is_alive()
    assert heard in ([True, False], [False, False])
