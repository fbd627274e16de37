"""The audit: the acts of operators, newest first; also as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.act import Act
from haulier.domain.api_key import Scope
from haulier.domain.text import NOTHING, cut
from haulier.postgres.statements import Connection
from haulier.queue.access.audit_log import Action, ActionFilter, Position, find_actions
from haulier.queue.access.audit_log import Page as Entries
from haulier.requests.cursor import entry_cursor, read_entry_cursor
from haulier.requests.fields import read_uuid

from ...http.masking import details_as_shown
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part
from ..kit.section import Section
from ..kit.viewer import viewer
from ..words.filters import read_duration, read_time

WHY = "the audit covers every queue"
LIMIT, MOST_CSV, CSV_PAGE = 50, 10_000, 200
# The most characters of a CSV file: the details of an entry may have 32 KiB.
MOST_CHARACTERS = 16_000_000
MOST_VALUE, MOST_CHANGES = 120, 12
SECONDS = 1.0
FIELDS = ("actor", "action", "job", "target", "after", "before")
# Acts whose code is not what people call them.
WORDS: Mapping[str, str] = {Act.OPERATE: "start operation", Act.PUT_SCHEDULE: "save schedule", Act.UNQUIET: "wake"}

section = Section("audit", __name__, MenuEntry("Access", 20, "Audit", "audit"))


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters in the URL as they were typed, and the names of invalid ones, which are ignored."""

    values: Mapping[str, str]
    actions: Sequence[str]
    odd: Sequence[str]
    after: Position | None

    def filter(self, *, limit: int, after: Position | None) -> ActionFilter:
        """Return the filter."""
        return ActionFilter(
            job_id=read_uuid(self.values.get("job", "")),
            target=self.values.get("target") or None,
            actor=self.values.get("actor") or None,
            actions=list(self.actions) or None,
            at_after=_instant(self.values.get("after", "")),
            at_before=_instant(self.values.get("before", "")),
            after=after,
            limit=limit,
        )

    def query(self) -> list[tuple[str, str]]:
        """Return the query of this page, without the cursor."""
        texts = [(name, text) for name, text in self.values.items() if text and name != "action"]
        return [*texts, *(("action", each) for each in self.actions)]


@section.page("/audit", Scope.OPERATE, every_queue=WHY)
def show() -> Page:
    """Return a page of the audit log."""
    asked = _asked()
    found = kept("audit", (tuple(asked.query()), asked.after, viewer().prefers.zone), partial(_list, asked))
    entries, lines = found.value or (None, ())
    here = _at("ui.audit.show", asked.query())
    return Page(
        "audit.html",
        "Audit",
        found=found,
        entries=entries,
        lines=lines,
        older=_older(asked, entries.after) if entries and entries.after else None,
        asked=asked,
        acts=[str(act) for act in Act],
        word_of=word_of,
        newest=here if asked.after else None,
        as_csv=_at("ui.audit.as_csv", asked.query()),
    )


def word_of(act: str) -> str:
    """Return an act as people call it."""
    return WORDS.get(act, act.replace("_", " "))


def _at(endpoint: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{url_for(endpoint)}?{urlencode(pairs)}" if pairs else url_for(endpoint)


def _asked() -> Asked:
    given = {name: request.args.get(name, "").strip()[:200] for name in FIELDS}
    actions = [each for each in request.args.getlist("action") if each in set(Act)]
    odd = [name for name in ("after", "before") if given[name] and _instant(given[name]) is None]
    if given["job"] and read_uuid(given["job"]) is None:
        odd.append("job")
    odd += ["action"] if set(request.args.getlist("action")) - {"", *Act} else []
    return Asked({name: "" if name in odd else text for name, text in given.items()}, actions, odd, _position())


def _instant(text: str) -> datetime | None:
    by = viewer()
    duration = read_duration(text)
    return by.now - duration if duration is not None else read_time(text, by.prefers.time_zone)


def _position() -> Position | None:
    try:
        return read_entry_cursor(request.args["older"]) if request.args.get("older") else None
    except ValueError:
        return None


def _list(asked: Asked) -> Part[tuple[Entries, Sequence[Sequence[str]]]]:
    """Return entries without their details, which may have 32 KiB each, and lines in place of these."""
    wanted = asked.filter(limit=LIMIT, after=asked.after)

    def look(conn: Connection) -> tuple[Entries, Sequence[Sequence[str]]]:
        found = find_actions(conn, wanted)
        lines = [_lines(details_as_shown(each).details) for each in found.actions]
        return found._replace(actions=[replace(each, details=None) for each in found.actions]), lines

    return part(look, seconds=SECONDS)


def _older(asked: Asked, after: Position) -> str:
    return _at("ui.audit.show", [*asked.query(), ("older", entry_cursor(*after))])


def _lines(details: bytes | None) -> list[str]:
    try:
        return lines_of(json.loads(details or b"null"))
    except RecursionError:
        # Somebody has inserted the job by SQL: no request may be nested so deep.
        return [cut((details or b"").decode(), MOST_VALUE)]


def lines_of(details: Any) -> list[str]:
    """Return details as lines: the old and new value of each changed field, then everything else by name."""
    if not isinstance(details, dict):
        return [] if details is None else [_short(details)]
    changes = details.get("changes")
    found = [_change(name, each) for name, each in changes.items()] if isinstance(changes, dict) else []
    found += [f"{name}: {_short(each)}" for name, each in details.items() if name != "changes" or not found]
    more = len(found) - MOST_CHANGES
    return found if more <= 0 else [*found[:MOST_CHANGES], f"and {more} more"]


def _change(name: str, change: Any) -> str:
    if not isinstance(change, dict) or not change:
        return f"{name} changed"
    if "old" in change or "new" in change:
        return f"{name}: {_short(change.get('old'))} → {_short(change.get('new'))}"
    return f"{name}: {_short(change)}"


def _short(value: Any) -> str:
    if value is None:
        return NOTHING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, MOST_VALUE)


@section.page("/audit.csv", Scope.OPERATE, every_queue=WHY)
def as_csv() -> Response:
    """Return the newest entries that match, 10,000 at most, as CSV."""
    asked = _asked()
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["at", "actor", "action", "job_id", "key_id", "target", "details"])
    after, is_whole = _write(writer, asked, out)
    if not is_whole:
        since = "" if after is None else after[0].isoformat()
        writer.writerow([since, "", "this file is incomplete: older matching entries are left out", "", "", "", ""])
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return Response(out.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _write(writer: Any, asked: Asked, out: io.StringIO) -> tuple[Position | None, bool]:
    """Write the matching entries, up to the limits; return where it ended, and whether that is all."""
    after, left = None, MOST_CSV
    while left > 0 and out.tell() < MOST_CHARACTERS:
        wanted = asked.filter(limit=min(CSV_PAGE, left), after=after)
        found = part(partial(_page_of, wanted), seconds=SECONDS)
        if found.value is None:
            return after, False
        writer.writerows(_cells(details_as_shown(each)) for each in found.value.actions)
        left, after = left - len(found.value.actions), found.value.after
        if after is None or found.value.looked_back_to is not None:
            break
    return after, after is None


def _page_of(wanted: ActionFilter, conn: Connection) -> Entries:
    return find_actions(conn, wanted)


def _cells(action: Action) -> list[str]:
    details = (action.details or b"").decode()
    cells = (action.actor, action.action, action.job_id, action.key_id, action.target, details)
    return [action.at.isoformat(), *(_cell("" if each is None else str(each)) for each in cells)]


def _cell(text: str) -> str:
    # A spreadsheet would run a text that begins like this as a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
