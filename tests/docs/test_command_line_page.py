"""docs/command-line.md and docs/schedules.md are true: they name every command and no other, and they run."""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import click
import pytest

from haulier.cli.client.client_errors import Code
from haulier.cli.parts.invocation import shared_options
from haulier.cli.parts.options import PARAMETERS
from haulier.cli.terminal.output import READER_LEFT
from haulier.domain.schedules.schedule import Missed, Overlap, TickOutcome, timetable
from haulier.domain.schedules.time_zone import zone
from haulier.schedules_toml import read_schedules
from tests.command_line.conftest import leaves
from tests.docs import shell
from tests.docs.reading import ROOT, blocks_of, names_in, section, tables, text_of, without_blocks
from tests.web import gunicorn

PAGE = "docs/command-line.md"
NOT_RUN = ["pipx install"]
COMMANDS = {f"haulier {name}": command for name, command in leaves()}


def named() -> list[str]:
    """Return what the page calls a command: in its sentences, its tables, its blocks."""
    text = text_of(PAGE)
    code = [*names_in(without_blocks(text)), *(line for block in blocks_of(PAGE) for line in block.text.splitlines())]
    return [found for each in code for found in re.findall(r"\bhaulier [a-z][^|$()]*", each)]


def test_every_command_is_there() -> None:
    assert [name for name in COMMANDS if not [each for each in named() if f"{each} ".startswith(f"{name} ")]] == []


def test_no_other_command_is_there() -> None:
    groups = {name.rsplit(" ", 1)[0] for name in COMMANDS if name.count(" ") > 1}

    unknown = [
        each
        for each in named()
        if not [name for name in [*COMMANDS, *groups] if re.match(rf"{name}( |$|/)", each.replace("[server]", ""))]
    ]

    assert unknown == []


def test_every_option_that_is_named_is_there() -> None:
    def known(command: click.Command) -> set[str]:
        return {option for each in [*command.params, *shared_options()] for option in each.opts} | {"--help"}

    unknown = {
        (name, option)
        for name, command in COMMANDS.items()
        for each in named()
        if f"{each} ".startswith(f"{name} ")
        for option in re.findall(r" (--?[a-z-]+)", each)
        if option not in known(command)
    }

    assert unknown == set()


def test_every_part_of_the_filter_is_there() -> None:
    text = text_of(PAGE)

    assert [name for name in PARAMETERS if f"`--{name.replace('_', '-')}" not in text] == []
    assert [option for each in shared_options() for option in each.opts[:1] if f"`{option}" not in text] == []


def test_every_exit_code_is_there() -> None:
    rows = [row[0] for row in tables(section(PAGE, "## What is printed"))]

    assert sorted(int(code) for row in rows for code in row.split(", ")) == sorted([*map(int, Code), READER_LEFT])


def test_the_commands_run(database: str, eventually, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(PAGE) if block.language == "sh"]
    run = [block.text for block in blocks if not block.text.startswith(tuple(NOT_RUN))]
    (tmp_path / "haulier").write_text(
        f'#!/bin/sh\nPYTHONPATH={Path(__file__).parents[2]} exec {sys.executable} -m haulier "$@"\n'
    )
    (tmp_path / "haulier").chmod(0o755)

    assert len(run) == len(blocks) - len(NOT_RUN)
    with gunicorn(database, eventually, WEB_CONCURRENCY="1") as server:
        path = f"{tmp_path}:{os.environ['PATH']}"
        said = shell.run("".join(run), server.url, tmp_path, HAULIER_URL=server.url, PATH=path)

    assert said


SCHEDULES = "docs/schedules.md"
CHANGES = [row for row in tables(section(SCHEDULES, "### Where clocks are changed")) if len(row) == 5]


@pytest.mark.direct("a command goes past the pool")
def test_the_commands_run_and_the_file_is_applied(database: str, eventually, tmp_path: Path, sql) -> None:
    blocks = blocks_of(SCHEDULES)
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
    pages = [SCHEDULES, "docs/deploy.md", "docs/own-repository.md"]
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
        name for row in tables(section(SCHEDULES, "## When it fires")) if len(row) == 2 for name in names_in(row[0])
    ]

    assert len(expressions) >= 12
    for cron in expressions:
        (tmp_path / "schedules.toml").write_text(
            f'[schedules.a]\ncron = "{cron}"\njob = {{ kind = "mail", payload = {{}} }}\n'
        )
        assert read_schedules(tmp_path / "schedules.toml", None)["a"].cron == cron


def test_every_outcome_and_every_policy_is_there() -> None:
    text = section(SCHEDULES, "## What happens to each tick")
    outcomes = [names_in(row[0])[0] for row in tables(text) if len(row) == 2]

    assert outcomes == [str(each) for each in TickOutcome]
    assert all(f"`{each}`" in text for each in [*Overlap, *Missed])
