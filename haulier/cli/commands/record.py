"""The record of what operators did, over HTTP: `haulier audit` if no database is named."""

from __future__ import annotations

import json
from typing import Any

from haulier.cli.parts.invocation import Invocation
from haulier.cli.parts.options import show_list
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of

COLUMNS = columns_of("AT, WHO, DID, TO, WITH", long="WITH")


def show_record(invocation: Invocation, query: list[tuple[str, str]], limit: int) -> None:
    """List what was done, newest first."""
    show_list(invocation, "/audit", COLUMNS, _row, limit=limit, query=query)


def _row(terminal: Terminal, entry: dict[str, Any]) -> list[Cell]:
    who = entry["actor"] or words.NOTHING
    return [terminal.when(entry["at"]), who, entry["action"], _object(entry), _details(entry)]


def _details(entry: dict[str, Any]) -> str:
    details = entry["details"]
    return json.dumps(details, ensure_ascii=False) if details else ""


def _object(entry: dict[str, Any]) -> str:
    return str(entry["job_id"] or entry["key_id"] or entry["target"] or words.NOTHING)
