"""`haulier top`: it ..."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.command_line.conftest import Run
from tests.command_line.terminals import Terminal
from tests.conftest import Sql, eventually
from tests.web import Server


def fill(sql: Sql, counted: Callable[[], None]) -> None:
    for queue, jobs in (("bulk", 3), ("mail", 7)):
        sql(
            "INSERT INTO haulier.job (kind, queue, payload) SELECT 'mail', %s, '{}' FROM generate_series(1, %s)",
            queue,
            jobs,
        )
    counted()


def test_prints_once_without_a_terminal(run: Run, server: Server, sql: Sql, counted) -> None:
    fill(sql, counted)

    shown = run("top")

    lines = shown.out.splitlines()
    assert re.fullmatch(rf"haulier top  {re.escape(server.url[7:])}  \d\d:\d\d:\d\d  every 2.0 s", lines[0])
    assert lines[1].startswith("waiting 10 due, 0 later")
    assert [line.split()[0] for line in lines[-3:]] == ["QUEUE", "mail", "bulk"]
    assert run("top", "--json").json["waiting"] == 10


def test_takes_the_screen_and_keys_and_gives_both_back(server: Server, home: Path, sql: Sql, counted) -> None:
    fill(sql, counted)
    top = Terminal(server, home, "top", "--every", "0.5")

    eventually(lambda: "waiting 10 due" in top.read())
    top.press("s")
    eventually(lambda: "sorted by running" in top.read())
    top.press("p")
    eventually(lambda: "paused" in top.read().rsplit("haulier top", 1)[1])
    top.press("p3")
    top.press("2")
    eventually(lambda: "LAST BEAT" in top.read())
    top.press("q")
    shown = top.end()

    assert "\x1b[?1049h" in shown
    assert shown.rstrip().endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l", "\x1b[?1049l"))


def test_gives_the_terminal_back_at_ctrl_c(server: Server, home: Path) -> None:
    top = Terminal(server, home, "top")
    eventually(lambda: "haulier top" in top.read())

    top.press("\x03")

    assert "\x1b[?1049l" in top.end(130)
