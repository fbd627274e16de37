"""The command `haulier`: which commands there are, and how each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from haulier.cli.client.client_errors import Code, code_of
from haulier.cli.parts.invocation import ClientGroup, load
from haulier.cli.terminal.visible import visible
from haulier.domain.errors import HaulierError
from haulier.version import version

# Where each command is, and its help: to show all of them, none is loaded.
COMMANDS = {
    "init": ("haulier.cli.init:init", "Create a Procfile, .env.example, and a kind of job with its test."),
    "run": ("haulier.cli.run:run", "Run API and worker on your own machine."),
    "psql": ("haulier.cli.psql:psql", "Open psql on the database of `haulier run` or on DATABASE_URL."),
    "migrate": ("haulier.cli.migrate:migrate", "Migrate the database schema to this version; safe to repeat."),
    "web": ("haulier.cli.web:web", "Serve the API, by gunicorn."),
    "worker": ("haulier.cli.worker:worker", "Claim jobs and run them, until stopped."),
    "all": ("haulier.cli.one_dyno:all_in_one", "Run web and worker together, for one small machine."),
    "cells": ("haulier.cli.cells:cells", "Write the configuration of the router of several cells."),
    "recount": ("haulier.cli.recount:recount", "Recount the live jobs and those of the last 24 hours."),
    "cell": ("haulier.cli.cell:cell", "Move a cell to another server, or a tenant to another cell."),
    "keys": ("haulier.cli.keys:keys", "Create, list, rotate and revoke API keys."),
    "audit": ("haulier.cli.show_audit:audit", "Show what operators did, newest first."),
    "enqueue": ("haulier.cli.job_commands.enqueue:enqueue", "Enqueue a job, or all jobs of a file."),
    "jobs": ("haulier.cli.job_commands.jobs:jobs", "Find, cancel, retry, change and delete jobs."),
    "errors": ("haulier.cli.commands.errors:errors", "List groups of similar errors; mute a group."),
    "queues": ("haulier.cli.commands.queues:queues", "List queues; pause and resume them."),
    "schedules": ("haulier.cli.apply_schedules:schedules", "List, create, change, pause and run schedules."),
    "ops": (
        "haulier.cli.job_commands.operations:ops",
        "List, watch, cancel and resume operations, which act on all jobs that match a filter.",
    ),
    "workers": ("haulier.cli.commands.workers:workers", "List workers; stop one from claiming jobs."),
    "stats": ("haulier.cli.commands.stats:stats", "Show statistics: arrivals, outcomes, wait times and run times."),
    "top": ("haulier.cli.commands.top:top", "Watch statistics, queues, workers and errors."),
    "db": (
        "haulier.cli.commands.db:db",
        "Check the database: problems, their effect on jobs, and the fixes.",
    ),
    "ping": ("haulier.cli.commands.ping:ping", "Measure round trips to the service and its database."),
    "login": ("haulier.cli.commands.login:login", "Check an API key and save it in a profile."),
    "logout": ("haulier.cli.commands.login:logout", "Delete a profile and its key from this machine."),
    "profiles": ("haulier.cli.commands.login:profiles", "List the profiles."),
    "completion": ("haulier.cli.commands.completion:completion", "Print the completion script for your shell."),
    "version": ("haulier.cli.commands.version:version", "Print the version of this program."),
}
ON_SERVER = ("init", "run", "psql", "migrate", "web", "worker", "all", "cells", "recount", "cell")


class Root(ClientGroup):
    """All commands; the file of one is loaded when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        return load(COMMANDS[cmd_name][0]) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what there is, without loading it."""
        for title, is_server in (("Over HTTP", False), ("On the server and its database", True)):
            names = [name for name in COMMANDS if (name in ON_SERVER) is is_server]
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names])

    def main(self, args: Sequence[str] | None = None, *_: Any, **options: Any) -> Any:
        """Run a command; return its exit code, or leave with it."""
        is_last = options.pop("standalone_mode", True)
        complete_variable = options.pop("complete_var", None)
        code = ending(lambda: self._run(args, complete_variable))
        if is_last:
            sys.exit(code)
        return code

    def _run(self, args: Sequence[str] | None, complete_variable: str | None) -> int:
        return super().main(args, "haulier", complete_variable, standalone_mode=False) or 0


def ending(run: Callable[[], int]) -> int:
    """Return the exit code of a command, once what ended it is said on stderr in a line."""
    try:
        return run()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "haulier"
        return _say(f"{_in_a_line(error.format_message())} (see `{path} --help`)", Code.USAGE)
    except click.ClickException as error:
        return _say(_in_a_line(error.format_message()), Code.USAGE)
    except click.Abort as abort:
        # Ctrl-C, or a question that nobody can answer.
        return Code.USAGE if isinstance(abort.__cause__, EOFError) else Code.INTERRUPTED
    except HaulierError as error:
        return _say(str(error), code_of(error))


def _in_a_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _say(message: str, code: Code) -> Code:
    print(f"haulier: {visible(message)}", file=sys.stderr)
    return code


def _show_version(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    # Not click.version_option, which takes the text itself: every command would have to find it out.
    if is_asked:
        click.echo(f"haulier {version()}")
        ctx.exit()


@click.command(cls=Root)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def root() -> None:
    """Durable background jobs over HTTP, on the Postgres you already run."""
