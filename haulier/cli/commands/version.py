"""`haulier version`."""

from __future__ import annotations

from haulier import version as program
from haulier.cli.parts.invocation import Invocation, command, pass_invocation


@command("version", example="haulier version")
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print the version of this program."""
    known = program.version()
    invocation.terminal.show({"version": known}, lambda _: invocation.terminal.line(f"haulier {known}"))
