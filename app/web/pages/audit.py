"""The audit: the acts of operators, newest first; also as CSV."""

from __future__ import annotations

import csv
import io
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
from haulier.postgres.statements import Connection
from haulier.queue.access.audit_log import Action, ActionFilter, Position, find_actions
from haulier.queue.access.audit_log import Page as Entries
from haulier.requests.cursor import entry_cursor, read_entry_cursor
from haulier.requests.fields import read_uuid

from ...http.masking import details_as_shown
from ..forms.bulk import told_of
from ..kit.actors import actor_of
from ..kit.job_list_url import Pair
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part
from ..kit.section import Section
from ..kit.templates import url
from ..kit.viewer import viewer
from ..lists.filter_words import filter_words
from ..words.acts import act_words, detail_lines, read_details
from ..words.filters import read_duration, read_time

WHY = "the audit covers every queue"
LIMIT, MOST_CSV, CSV_PAGE = 50, 10_000, 200
# The most characters of a CSV file: the details of an entry may have 32 KiB.
MOST_CHARACTERS = 16_000_000
SECONDS = 1.0
FIELDS = ("actor", "action", "job", "target", "after", "before")

# The pages of what is acted on: the acts, the page, and what the page calls the target.
_PAGES = (
    ((Act.OPERATE, Act.CANCEL_OPERATION, Act.RESUME_OPERATION), "operations.one", "operation_id"),
    ((Act.MUTE, Act.UNMUTE), "failures.one", "error_id"),
    ((Act.PAUSE, Act.RESUME), "queues.one", "name"),
    ((Act.PUT_SCHEDULE, Act.PAUSE_SCHEDULE, Act.RESUME_SCHEDULE, Act.RUN_SCHEDULE), "schedules.one", "name"),
)

_FILTERS: Mapping[str, str] = {Act.MUTE: "error", Act.UNMUTE: "error", Act.QUIET: "worker", Act.UNQUIET: "worker"}

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
            actor=actor_of(self.values.get("actor", "")) or None,
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


@dataclass(frozen=True, slots=True)
class EntryWords:
    """What an entry says: the act, what it was done to if that has a name other than its id, and details."""

    act: str
    target: str
    lines: Sequence[str]


@section.page("/audit", Scope.OPERATE, every_queue=WHY)
def show() -> Page:
    """Return a page of the audit log."""
    asked = _asked()
    found = kept("audit", (tuple(asked.query()), asked.after, viewer().prefers.zone), partial(_list, asked))
    entries, said = found.value or (None, ())
    here = _at("ui.audit.show", asked.query())
    return Page(
        "audit.html",
        "Audit",
        found=found,
        entries=entries,
        said=said,
        older=_older(asked, entries.after) if entries and entries.after else None,
        asked=asked,
        acts=[str(act) for act in Act],
        act_words=act_words,
        page_of=_place_of,
        newest=here if asked.after else None,
        as_csv=_at("ui.audit.as_csv", asked.query()),
    )


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


def _list(asked: Asked) -> Part[tuple[Entries, Sequence[EntryWords]]]:
    """Return entries without their details, which may have 32 KiB each, and words in place of these."""
    wanted = asked.filter(limit=LIMIT, after=asked.after)
    found = part(lambda conn: find_actions(conn, wanted), seconds=SECONDS)
    if found.value is None:
        return Part(None, found.late)
    actions = [details_as_shown(each) for each in found.value.actions]
    details = [read_details(each.details) for each in actions]
    pairs = [*map(_target, actions), *(pair for each in details for pair in _filters(each))]
    words = filter_words(dict.fromkeys(pair for pair in pairs if pair))
    said = [_in_words(action, read, words) for action, read in zip(actions, details, strict=True)]
    return Part((found.value._replace(actions=[replace(each, details=None) for each in actions]), said))


def _target(action: Action) -> Pair | None:
    """Return the error or worker that was acted on, as a filter; None for other targets."""
    name = _FILTERS.get(action.action)
    return (name, action.target) if name and action.target else None


def _filters(details: Any) -> list[Pair]:
    """Return the filter of an operation."""
    stored = details.get("filter") if isinstance(details, dict) else None
    return told_of(stored)[0] if isinstance(stored, dict) else []


def _in_words(action: Action, details: Any, words: Mapping[Pair, str]) -> EntryWords:
    pairs, target = _filters(details), _target(action)
    filters = ", ".join(f"{name} {words.get((name, text), text)}" for name, text in pairs) or "every job"
    return EntryWords(
        act_words(action.action, details),
        words.get(target, "") if target else "",
        detail_lines(action.action, details, filters),
    )


def _place_of(entry: Action) -> tuple[str, str] | None:
    """Return the page of what was acted on, as an endpoint and its URL; None for a job, or if it has no page."""
    target = entry.target or ""
    for acts, endpoint, name in _PAGES:
        if entry.action in acts and target:
            return endpoint, url(endpoint, **{name: target})
    return None


def _older(asked: Asked, after: Position) -> str:
    return _at("ui.audit.show", [*asked.query(), ("older", entry_cursor(*after))])


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
