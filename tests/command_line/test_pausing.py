"""`haulier queues pause` and `resume`: it ..."""

from __future__ import annotations

import re

from tests.command_line.conftest import Run


def test_pauses_and_resumes_a_queue(run: Run) -> None:
    paused, listed = run("queues", "pause", "bulk"), run("queues", "list")
    until = run("queues", "pause", "bulk", "--for", "1h")
    resumed = run("queues", "resume", "bulk", "--json")

    assert (paused.code, paused.out) == (0, "bulk  paused\n")
    assert listed.rows[0][:2] == ["bulk", "paused"]
    assert re.fullmatch(r"bulk  paused until \S+Z\n", until.out)
    assert resumed.json["paused"] is False
    assert run("queues", "pause", "bulk", "--until", "2026-01-01").code == 1
    assert run("queues", "pause", "bulk", "--until", "2099-01-01", "--for", "1h").code == 2
