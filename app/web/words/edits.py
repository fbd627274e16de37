"""What operators changed in a job, by the entries of the audit: in words, and the original payload."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haulier.domain.job import Json
from haulier.domain.text import NOTHING, cut
from haulier.queue.access.audit_log import Action

from .acts import first_lines, read_details
from .pretty_json import Printed, is_hidden, printed

MOST_VALUE = 80


@dataclass(frozen=True, slots=True)
class Original:
    """The payload of a job before its first change. `is_part`: only the fields that changed are kept."""

    at: datetime
    by: str | None
    payload: Printed
    is_part: bool


def edits_of(
    actions: Sequence[Action], hides: Collection[str], may_name: Callable[[str], bool]
) -> tuple[Mapping[datetime, Sequence[str]], Original | None]:
    """Return what was changed, by the time of the entry, and the original payload; None if it was not changed.

    Args:
        actions: Entries of one job, newest first, without what the viewer may not see.
        hides: Values under names with one of these in them are hidden.
        may_name: Whether the viewer may see this queue.
    """
    lines: dict[datetime, Sequence[str]] = {}
    original: Original | None = None
    for action in actions:
        changes = _changes(action)
        found = [line for name, each in changes.items() for line in _lines(name, each, hides, may_name)]
        lines[action.at] = first_lines(found)
        if "payload" in changes:
            # If the first change was too long for the record, what a later one found is not the original.
            original = _original(action, changes["payload"], hides)
    return lines, original


def _original(action: Action, change: Any, hides: Collection[str]) -> Original | None:
    if not isinstance(change, dict) or change.get("old") is None:
        return None
    text = json.dumps(change["old"], ensure_ascii=False).encode()
    return Original(action.at, action.actor, printed(text, hides=hides), "old_bytes" in change)


def _changes(action: Action) -> Mapping[str, Any]:
    details = read_details(action.details)
    changes = details.get("changes") if isinstance(details, dict) else None
    return changes if isinstance(changes, dict) else {}


def _lines(name: str, change: Any, hides: Collection[str], may_name: Callable[[str], bool]) -> list[str]:
    if not isinstance(change, dict):
        return [f"{name} changed"]
    old, new = change.get("old"), change.get("new")
    if name == "queue":
        sides = [_short(each) if may_name(str(each)) else "" for each in (old, new)]
        return [" ".join(filter(None, ("queue:", sides[0], "→", sides[1]))) if any(sides) else "queue changed"]
    if name != "payload":
        return [_line(name, old, new)]
    if not isinstance(old, dict) or not isinstance(new, dict):
        return ["payload changed; it is too long for the record"]
    fields = [each for each in {**old, **new} if old.get(each) != new.get(each) or (each in old) != (each in new)]
    found = [
        f"payload.{each} changed"
        if is_hidden(each, hides)
        else _line(f"payload.{each}", old.get(each), new.get(each), hides)
        for each in fields
    ]
    return found or ["payload changed, in secret fields"]


def _line(name: str, old: Json, new: Json, hides: Collection[str] = ()) -> str:
    return f"{name}: {_short(old, hides)} → {_short(new, hides)}"


def _short(value: Json, hides: Collection[str] = ()) -> str:
    """Return the value in a line, without what is hidden within it."""
    if value is None:
        return NOTHING
    pieces = printed(json.dumps(value, ensure_ascii=False).encode(), hides=hides).pieces
    return cut(" ".join("".join(text for _, text in pieces).split()), MOST_VALUE)
