"""The order of the tests: in that of their names those of workers came last, where four processes only waited.

`--dist worksteal` gives each process as many tests in a row; one that has none left takes half of another's, from the
end.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Their tests start processes and wait for them: a quarter of all tests, and half of the time.
WAITING = ("cli", "failover", "http/gunicorn", "installed", "isolation", "lab", "local", "model", "worker")
TESTS = Path(__file__).parent


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Let half of xdist's processes begin with the tests that wait, and the others have the processors meanwhile."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    waiting = [item for item in items if item.path.relative_to(TESTS).as_posix().startswith(WAITING)]
    others = [item for item in items if item not in set(waiting)]
    halves, found = processes // 2, []
    for place in range(halves):
        part = waiting[place * len(waiting) // halves : (place + 1) * len(waiting) // halves]
        room = max(0, len(items) // processes - len(part))
        found += part + others[:room]
        others = others[room:]
    return found + others if halves else items
