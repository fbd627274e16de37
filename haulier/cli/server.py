"""The commands that need more packages than the client has, and which extra installs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.parts.invocation import Command, Invocation
from haulier.domain.errors import ConfigError
from haulier.version import requirement

# The packages of each extra. Not all of them: who has these has the others.
WORKER = ("psycopg2", "marshmallow", "prometheus_client", "standardwebhooks")
PACKAGES = {"worker": WORKER, "server": (*WORKER, "gunicorn", "flask_smorest")}


class ServerCommand(Command):
    """A command that works on the database, or serves; `extra` installs what it needs."""

    def __init__(self, *args: Any, extra: str = "worker", **options: Any) -> None:
        super().__init__(*args, **options)
        self.extra = extra

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, if what it needs is installed. Raises: ConfigError; CommandError."""
        require(ctx.command_path, self.extra)
        if ctx.ensure_object(Invocation).names_a_service:
            raise CommandError(
                f"`{ctx.command_path}` uses the database of DATABASE_URL, so --url and --profile do not apply",
                Code.USAGE,
            )
        return super().invoke(ctx)


def server_command(name: str, *, example: str, **options: Any) -> Callable[[Callable[..., Any]], ServerCommand]:
    """Return a decorator that makes a command of a function, whose docstring is its help."""
    return click.command(name, cls=ServerCommand, example=example, **options)


def find_modules_here() -> None:
    """Let modules of the working directory be found, which HAULIER_KINDS may name.

    gunicorn puts it on the path, and an installed command does not.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def require(command: str, extra: str = "worker") -> None:
    """Return if the packages of this extra are installed. Raises: ConfigError."""
    if missing := next((name for name in PACKAGES[extra] if find_spec(name) is None), None):
        raise ConfigError(
            f"`{command}` works on the database (DATABASE_URL) and needs the extra `{extra}` ({missing} is missing):"
            f" pip install '{requirement(extra)}'"
        )
