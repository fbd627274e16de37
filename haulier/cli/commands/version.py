"""`haulier version`."""

from __future__ import annotations

from haulier import __version__
from haulier.cli.commands.invocation import Invocation, command, pass_invocation


@command("version", example="haulier version")
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print the version of this program."""
    invocation.terminal.show({"version": __version__}, lambda _: invocation.terminal.line(f"haulier {__version__}"))
