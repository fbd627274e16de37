"""Writes what `make docs` builds the site from: build/docs has the pages of docs/, and those of the reference.

    python -m tools.reference

The reference comes from the code: commands from click, calls from the OpenAPI document. Of Python's names a page only
says which module is meant: mkdocstrings reads the docstrings.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from app.api import build
from haulier.cli.parts.invocation import shared_options
from haulier.cli.root import root
from haulier.config import Config
from tools.calls_page import calls_page, table

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "docs"
# Lets the search run in pages that are opened as files, for which browsers start no worker. By npm's iframe-worker.
SHIM = ROOT / "tools" / "vendor" / "iframe-worker-1.0.4.js"
COMMANDS = """\
# Commands

Look up a command and its options. [Command line](../command-line.md) shows how to use them. `haulier COMMAND --help`
prints the same.
"""
PYTHON = """\
# {title}

{introduction}

::: {module}
"""


def main() -> None:
    """Write the pages again."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES)
    shutil.copy(SHIM, PAGES)
    (PAGES / "reference").mkdir()
    for name, text in reference().items():
        (PAGES / "reference" / name).write_text(text, encoding="utf-8")


def reference() -> dict[str, str]:
    """Return the pages of the reference in Markdown, by the names of their files."""
    api = build(Config("postgres://db.example.com/haulier"))
    return {
        "commands.md": "\n\n".join([COMMANDS, *_commands()]) + "\n",
        "http-calls.md": calls_page(json.loads(api.extensions["haulier_openapi"])),
        "kinds.md": PYTHON.format(
            title="Python: haulier.kinds",
            introduction="Look up the names for [kinds of your own](../kinds.md).",
            module="haulier.kinds",
        ),
        "testing.md": PYTHON.format(
            title="Python: haulier.testing",
            introduction="Look up the names for [tests of your kinds](../kinds.md).",
            module="haulier.testing",
        ),
    }


def _commands() -> Iterator[str]:
    context = click.Context(root, info_name="haulier")
    yield "## Options of every command"
    yield _options(list(shared_options()), context)
    for name in root.list_commands(context):
        yield from _command(name, context, level=2)


def _command(name: str, parent: click.Context, level: int) -> Iterator[str]:
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path}"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _command(each, context, level + 1)
        return
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    shared = {option.name for option in shared_options()}
    own = [each for each in command.get_params(context) if each.name not in shared and "--help" not in each.opts]
    yield _options(own, context)
    if example := getattr(command, "example", ""):
        yield f"Example:\n\n```sh\n{example}\n```"


def _options(parameters: list[click.Parameter], context: click.Context) -> str:
    records = [record for each in parameters if (record := each.get_help_record(context)) and record[1]]
    return table("Option | Meaning", [(f"`{' '.join(option.split())}`", text) for option, text in records])


if __name__ == "__main__":
    main()
