"""docs/command-line.md is true: it names every command and no other, its exit codes and options are there, it runs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from haulier.cli.client.client_errors import Code
from haulier.cli.parts.invocation import shared_options
from haulier.cli.parts.options import PARAMETERS
from haulier.cli.root import root
from haulier.cli.terminal.output import READER_LEFT
from tests.docs import shell
from tests.docs.reading import blocks_of, names_in, section, tables, text_of, without_blocks
from tests.web import gunicorn

PAGE = "docs/command-line.md"
NOT_RUN = ["pipx install"]


def leaves(group: click.Group = root, path: str = "haulier") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, f"{path} {name}")
        else:
            yield f"{path} {name}", found


COMMANDS = dict(leaves())


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
