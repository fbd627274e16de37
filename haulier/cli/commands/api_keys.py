"""API keys over HTTP: `haulier keys` if no database is named."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any
from urllib.parse import quote

from haulier.cli.parts.invocation import Invocation
from haulier.cli.parts.options import show_list
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Column, Terminal
from haulier.cli.terminal.visible import visible
from haulier.client.api import Call

NAMES = ("ID", "NAME", "SCOPES", "QUEUES", "RATE", "CREATED", "LAST USED", "STATE")
COLUMNS = [Column(name) for name in NAMES]
EVERY = 10_000


def create(invocation: Invocation, asked: dict[str, Any]) -> None:
    """Make a key, and print it."""
    body = {
        "name": asked["name"],
        "scopes": sorted(asked["scopes"]),
        "queues": sorted(asked["queues"]) if asked["queues"] else None,
        "rate_limit": asked["rate"],
        "days": asked["days"],
    }
    made = invocation.api.send(Call("POST", "/keys", body=body)).body
    _print(invocation, made, f"created the API key {made['id']}, which is shown only this once:")


def rotate(invocation: Invocation, key_id: str, hours: float) -> None:
    """Give a key a new secret, and print it."""
    call = Call("POST", f"/keys/{quote(key_id, safe='')}/rotate", body={"hours": hours})
    made = invocation.api.send(call).body
    _print(
        invocation,
        made,
        f"the API key {made['id']} has a new secret, which is shown only this once; the old"
        f" one stays valid for {hours:g} h:",
    )


def _print(invocation: Invocation, made: dict[str, Any], said: str) -> None:
    # To stderr: a program that reads the key from stdout gets nothing else.
    if not invocation.terminal.as_json:
        print(visible(said), file=sys.stderr)
    invocation.terminal.show(made, lambda made: invocation.terminal.line(made["key"]))


def show_all(invocation: Invocation) -> None:
    """List every key, but for its secret."""
    show_list(invocation, "/keys", COLUMNS, _row, limit=EVERY)


def _row(terminal: Terminal, key: dict[str, Any]) -> list[Cell]:
    return [
        key["id"],
        key["name"],
        ",".join(key["scopes"]),
        "all" if key["queues"] is None else ",".join(key["queues"]),
        words.NOTHING if key["rate_limit"] is None else f"{key['rate_limit']:g}/s",
        terminal.when(key["created_at"]),
        terminal.when(key["last_used_at"]),
        _state(terminal, key),
    ]


def _state(terminal: Terminal, key: dict[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {terminal.when(key['revoked_at'])}"
    expires = words.moment(key["expires_at"])
    if expires is not None and expires <= datetime.now(expires.tzinfo):
        return f"expired {terminal.when(key['expires_at'])}"
    state = "good" if expires is None else f"until {terminal.when(key['expires_at'])}"
    # An older service does not say it.
    state += f", moved to cell {key['moved_to']}" if key.get("moved_to") else ""
    rotated = key["rotated_until"]
    return state if rotated is None else f"{state}, its old secret until {terminal.when(rotated)}"


def revoke(invocation: Invocation, key_id: str) -> None:
    """Revoke an API key."""
    revoked = invocation.api.send(Call("POST", f"/keys/{quote(key_id, safe='')}/revoke")).body
    said = f"revoked the API key {revoked['id']} ({revoked['name']})"
    invocation.terminal.show(revoked, lambda _: invocation.terminal.line(said))
