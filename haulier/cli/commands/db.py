"""`haulier db`: how the database is, and what to do."""

from __future__ import annotations

from typing import Any

from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of

COLUMNS = columns_of("CHECK, STATE, FOUND", long="FOUND")
TABLES = columns_of(
    "TABLE, ROWS, DEAD, SIZE, INDEXES, BLOAT, VACUUM, ANALYZE", numbers="ROWS, DEAD, SIZE, INDEXES, BLOAT"
)


@command("db", example="haulier db")
@pass_invocation
def db(invocation: Invocation) -> None:
    """Check the database: problems, their effect on jobs, and the fixes.

    It also lists the tables, largest first: estimated rows and dead rows, sizes, bloat (size divided by the size that
    the rows need), and the last VACUUM and ANALYZE.
    """
    found = invocation.api.get("/database").body
    invocation.terminal.show(found, lambda found: _people(invocation.terminal, found))


def _people(terminal: Terminal, found: dict[str, Any]) -> None:
    cell = f", cell {found['cell']}" if "cell" in found else ""
    terminal.line(f"PostgreSQL {found['version']}{cell}, as of {found['at']}")
    checks = found["checks"]
    terminal.table(COLUMNS, [[each["name"], terminal.state(each["state"]), each["message"]] for each in checks])
    for each in checks:
        if each["state"] in ("warn", "bad"):
            terminal.line()
            terminal.line(f"{each['name']}: {each['message']}")
            terminal.line(f"    {each['effect']}")
            if each["fix"]:
                terminal.block("    do", each["fix"])
    _tables(terminal, found)


def _tables(terminal: Terminal, found: dict[str, Any]) -> None:
    tables = found["tables"]
    if tables is not None:
        terminal.line()
        terminal.table(TABLES, [_row(terminal, each) for each in tables])
    else:
        terminal.warn(f"the tables {found['tables_message']}")


def _row(terminal: Terminal, table: dict[str, Any]) -> list[Cell]:
    return [
        table["name"],
        words.number(table["rows"]),
        words.number(table["dead_rows"]),
        words.size(table["table_bytes"]),
        words.size(table["index_bytes"]),
        words.NOTHING if table["bloat"] is None else f"{table['bloat']:.1f} ×",
        terminal.when(table["vacuumed_at"]),
        terminal.when(table["analyzed_at"]),
    ]
