"""docs/schedules.md is true: its commands run, its file is applied, and clocks do what its table says."""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from haulier.domain.schedules.schedule import Missed, Overlap, TickOutcome, timetable
from haulier.domain.schedules.time_zone import zone
from haulier.schedules_toml import read_schedules
from tests.docs import shell
from tests.docs.reading import ROOT, blocks_of, names_in, section, tables, text_of
from tests.web import gunicorn

PAGE = "docs/schedules.md"
CHANGES = [row for row in tables(section(PAGE, "### Where clocks are changed")) if len(row) == 5]


@pytest.mark.direct("a command goes past the pool")
def test_the_commands_run_and_the_file_is_applied(database: str, eventually, tmp_path: Path, sql) -> None:
    blocks = blocks_of(PAGE)
    [file] = [block for block in blocks if block.language == "toml"]
    (tmp_path / str(file.file)).write_text(file.text)
    (tmp_path / "haulier").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m haulier "$@"\n')
    (tmp_path / "haulier").chmod(0o755)

    with gunicorn(database, eventually, WEB_CONCURRENCY="1") as server:
        path = f"{tmp_path}:{os.environ['PATH']}"
        script = "".join(block.text for block in blocks if block.language == "sh")
        shell.run(script, server.url, tmp_path, HAULIER_URL=server.url, DATABASE_URL=database, PATH=path)

    assert sql("SELECT name, source FROM haulier.schedule ORDER BY name") == [
        ("nightly", "api"),
        ("nightly-report", "file"),
        ("sweep", "file"),
    ]


def test_every_release_line_is_the_same() -> None:
    pages = [PAGE, "docs/deploy.md", "docs/own-repository.md"]
    lines = {line for page in pages for line in re.findall(r"release: .*schedules apply.*?(?=[`\n])", text_of(page))}

    assert lines == {"release: haulier migrate && haulier schedules apply schedules.toml"}


def ticks_of(row: list[str]) -> str:
    """Return the ticks of a row's schedule on its day, as the table writes them."""
    [where, cron], day = [names_in(row[0])[0], names_in(row[3])[0]], row[1]
    table = timetable(cron=cron, every_seconds=None, time_zone=where)
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone(where))
    ticks = [at.astimezone(zone(where)) for at in islice(table.ticks(midnight - timedelta(days=1)), 300)]
    texts = [at.isoformat() for at in ticks if at.date().isoformat() == day]
    return f"{len(texts)} times" if "times" in row[4] else ", ".join(text[11:16] + text[19:] for text in texts)


def test_clocks_do_what_the_table_says() -> None:
    assert len(CHANGES) >= 8
    assert [(row, ticks) for row in CHANGES if (ticks := ticks_of(row)) != row[4]] == []


def test_every_expression_is_one_that_fires(tmp_path: Path) -> None:
    expressions = [
        name for row in tables(section(PAGE, "## When it fires")) if len(row) == 2 for name in names_in(row[0])
    ]

    assert len(expressions) >= 12
    for cron in expressions:
        (tmp_path / "schedules.toml").write_text(
            f'[schedules.a]\ncron = "{cron}"\njob = {{ kind = "mail", payload = {{}} }}\n'
        )
        assert read_schedules(tmp_path / "schedules.toml", None)["a"].cron == cron


def test_every_outcome_and_every_policy_is_there() -> None:
    outcomes = [names_in(row[0])[0] for row in tables(section(PAGE, "## What happens to each tick")) if len(row) == 2]

    assert outcomes == [str(each) for each in TickOutcome]
    assert all(f"`{each}`" in section(PAGE, "## What happens to each tick") for each in [*Overlap, *Missed])
