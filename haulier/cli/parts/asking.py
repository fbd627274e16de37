"""Questions that a command asks before it does what cannot be undone, or to many jobs."""

from __future__ import annotations

import sys

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.parts.invocation import Invocation
from haulier.cli.terminal.visible import visible


def ask(invocation: Invocation, what: str, *, is_final: bool = False) -> None:
    """Return if the answer is yes. Raises: CommandError for no, or if nobody can be asked."""
    service = invocation.service
    if not sys.stdin.isatty():
        raise CommandError(f"{what} on {service.url}? There is no terminal to ask on: use --yes to confirm", Code.USAGE)
    if is_final and service.confirm:
        typed = click.prompt(
            visible(f"{what} on {service.url}? Type {service.host}"), default="", show_default=False, err=True
        )
        is_yes = str(typed).strip() == service.host
    else:
        is_yes = click.confirm(visible(f"{what} on {service.url}?"), err=True)
    if not is_yes:
        raise CommandError("nothing was done")
