"""`haulier db`: how the database is, and what to do."""

from __future__ import annotations

from typing import Any

from haulier.cli.commands.invocation import Invocation, command, pass_invocation
from haulier.cli.terminal.output import Column, Terminal

COLUMNS = [Column("CHECK"), Column("STATE"), Column("FOUND", is_long=True)]


@command("db", example="haulier db")
@pass_invocation
def db(invocation: Invocation) -> None:
    """Show how the database is; where it is not well, what that does to jobs and what to do."""
    found = invocation.api.get("/database").body
    invocation.terminal.show(found, lambda found: _people(invocation.terminal, found))


def _people(terminal: Terminal, found: dict[str, Any]) -> None:
    terminal.line(f"PostgreSQL {found['version']}, as of {found['at']}")
    checks = found["checks"]
    terminal.table(COLUMNS, [[each["name"], terminal.state(each["state"]), each["message"]] for each in checks])
    for each in checks:
        if each["state"] in ("warn", "bad"):
            terminal.line()
            terminal.line(f"{each['name']}: {each['message']}")
            terminal.line(f"    {each['effect']}")
            if each["fix"]:
                terminal.block("    do", each["fix"])
