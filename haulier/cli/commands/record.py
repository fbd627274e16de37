"""The record of what operators did, over HTTP: `haulier audit` where no database is named."""

from __future__ import annotations

import json
from typing import Any

from haulier.cli.client.pages import Listing
from haulier.cli.commands.invocation import Invocation
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Column

COLUMNS = [Column("AT"), Column("WHO"), Column("DID"), Column("TO"), Column("WITH", is_long=True)]


def show_record(invocation: Invocation, query: list[tuple[str, str]], limit: int) -> None:
    """List what was done, newest first."""
    terminal = invocation.terminal

    def people(entries: list[dict[str, Any]]) -> None:
        rows = [
            [terminal.when(each["at"]), each["actor"] or words.NOTHING, each["action"], _object(each), _details(each)]
            for each in entries
        ]
        terminal.table(COLUMNS, rows)

    found = Listing(invocation.api, "/audit", query, limit=limit)
    terminal.show_each(found, people)
    if found.looked_back_to:
        terminal.warn(
            f"looked back to {found.looked_back_to}; older entries may match: --before {found.looked_back_to}"
        )


def _details(entry: dict[str, Any]) -> str:
    details = entry["details"]
    return json.dumps(details, ensure_ascii=False) if details else ""


def _object(entry: dict[str, Any]) -> str:
    return str(entry["job_id"] or entry["key_id"] or entry["target"] or words.NOTHING)
