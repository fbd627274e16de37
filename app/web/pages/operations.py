"""Operations: preview the jobs of a filter, act on all of them, watch, cancel and resume an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from urllib.parse import urlencode
from uuid import UUID

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import OperationConflict, PreviewNotKept, TooManyOperations
from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus
from haulier.domain.text import number
from haulier.postgres.statements import Connection
from haulier.queue.health.overview import worker_health
from haulier.queue.operations.operations import Operation, Preview, Rate, last_rate, list_operations
from haulier.queue.search.job_filter import Position
from haulier.requests.cursor import read_cursor, write_cursor
from haulier.requests.invalid import Invalid

from ...http import ordering
from ...http.auth import caller
from ..forms.bulk import FIELDS, VERBS, Bulk, Choices, order_of, read_bulk, read_choices, told_of
from ..kit.flash import done, went_on
from ..kit.job_list_url import Look, Pair, read_look
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.permissions import permissions
from ..kit.reading import kept, part, read
from ..kit.return_to import asked as asked_place
from ..kit.return_to import checked
from ..kit.section import Section
from ..kit.viewer import viewer
from ..lists.filter_words import filter_words

MOST, MOST_KINDS = 50, 10
OVER = (OperationStatus.DONE, OperationStatus.CANCELLED, OperationStatus.FAILED)
AS_IT_IS = Choices()
OTHERWISE = "That preview has already started an operation with other values. This is a new preview."
RESUMABLE = (OperationStatus.CANCELLED, OperationStatus.FAILED)

section = Section("operations", __name__, MenuEntry("Work", 70, "Operations", "operations"))


@section.page("/operations", Scope.OPERATE, every=5)
def show() -> Page:
    """Return the operations, newest first."""
    after = _position(request.args.get("older", ""))
    found = kept("operations", (after,), lambda: part(partial(_list, after)))
    operations, has_more = found.value or ([], False)
    pairs = {each.id: told_of(each.filter)[0] for each in operations}
    words = filter_words(dict.fromkeys(chain.from_iterable(pairs.values())))
    return Page(
        "operations.html",
        "Operations",
        is_live=after is None,
        found=found,
        operations=operations,
        word_of=word_of,
        percent_of=percent_of,
        filters_of=lambda operation: [(name, words[name, text]) for name, text in pairs[operation.id]],
        first=url_for("ui.operations.show") if after else None,
        older=url_for("ui.operations.show", older=_cursor(operations[-1])) if has_more else None,
    )


def _position(cursor: str) -> Position | None:
    try:
        return read_cursor(cursor) if cursor else None
    except ValueError:
        return None


def _cursor(operation: Operation) -> str:
    return write_cursor(operation.created_at, operation.id)


def _list(after: Position | None, conn: Connection) -> tuple[list[Operation], bool]:
    found, has_more = list_operations(conn, queues=caller().queues, after=after, limit=MOST)
    return [ordering.operation_as_shown(each) for each in found], has_more


def word_of(operation: Operation) -> str:
    """Return what an operation does, in a word."""
    is_now = operation.action is OperationAction.CHANGE and operation.changes == {"delay_seconds": 0}
    return VERBS["run-now" if is_now else str(operation.action)].word


def in_words(pairs: Sequence[Pair]) -> list[tuple[str, str, str]]:
    """Return each filter: its name, its value, and that in words."""
    words = filter_words(pairs)
    return [(name, text, words[name, text]) for name, text in pairs]


def percent_of(operation: Operation) -> str:
    """Return how much of a running operation is done, or "" if the number of its jobs is not known."""
    share = operation.share
    if share is None or operation.status is not OperationStatus.RUNNING:
        return ""
    # Rounded down: 100 % is said of what has ended.
    return f"{'about ' if operation.matched_is is MatchedIs.ABOUT else ''}{int(100 * share)} %"


def speed_of(per_second: float) -> str:
    """Return how many jobs a second an operation acts on, in words."""
    return f"{number(per_second)} jobs a second" if per_second >= 1.5 else "less than two jobs a second"


@section.page("/operations/new", Scope.OPERATE, for_acting=True)
def new() -> Page:
    """Return the form on which an operation is chosen."""
    return _new(read_look(request.args.lists()))


def _new(
    look: Look,
    bulk: Bulk | None = None,
    seen: Preview | None = None,
    choices: Choices = AS_IT_IS,
    fault: str = "",
    status: int = 200,
) -> Page:
    verbs = [verb for verb in VERBS.values() if verb.name != "delete" or _may_delete()]
    # A key that may operate need not be able to list jobs.
    may_list = permissions().why_not("ui.jobs.show") is None
    back = f"{url_for('ui.jobs.show')}?{urlencode(look.query())}" if may_list else url_for("ui.operations.show")
    asked = request.values.get("action", "")
    chosen = asked if asked in {verb.name for verb in verbs} else verbs[0].name
    return Page(
        "operation_new.html",
        f"{bulk.verb.word} jobs" if bulk else "Act on all matching jobs",
        status=status,
        look=look,
        verbs=verbs,
        chosen=chosen,
        bulk=bulk,
        filters=in_words(look.pairs),
        seen=seen,
        by_kind=sorted(seen.by_kind.items(), key=lambda each: (-each[1], each[0])) if seen else [],
        most_kinds=MOST_KINDS,
        rate=_last_rate(bulk.verb.action) if bulk and seen else None,
        speed_of=speed_of,
        fields=FIELDS.get(bulk.verb.name, ()) if bulk else (),
        choices=choices,
        fault=fault,
        back=asked_place() if "next" in request.form else checked(back),
    )


def _last_rate(action: OperationAction) -> Rate | None:
    return part(lambda conn: last_rate(conn, action, queues=caller().queues)).value


def _may_delete() -> bool:
    key = caller().key
    return key is None or key.may(Scope.ADMIN)


@section.act("/operations/new", Scope.OPERATE, slow=True)
def preview() -> Page:
    """Return the jobs that an operation would change, without changing them."""
    found = _asked()
    return found if isinstance(found, Page) else _previewed(found)


def _asked() -> Bulk | Page:
    """Return the action and filter in the form, or the page that says what is wrong. Raises: Forbidden."""
    by = viewer()
    try:
        bulk = read_bulk(request.form.lists(), request.form.get("action", ""), by.prefers.time_zone, by.now)
        ordering.check_action(bulk.verb.action)
        ordering.check_order(order_of(bulk, AS_IT_IS, caller().queues))
    except Invalid as error:
        return _new(read_look(request.form.lists()), fault=str(error), status=422)
    return bulk


def _previewed(bulk: Bulk, choices: Choices = AS_IT_IS, fault: str = "") -> Page:
    seen = read(lambda conn: ordering.preview(conn, order_of(bulk, AS_IT_IS, caller().queues)))
    return _new(bulk.look, bulk, seen, choices, fault, 422 if fault or choices.faults else 200)


@section.act("/operations", Scope.OPERATE, slow=True)
def start() -> Response | Page:
    """Start the operation, ten seconds later; once per preview, however often the form is sent."""
    bulk = _asked()
    if isinstance(bulk, Page):
        return bulk
    choices = read_choices(request.form, bulk.verb, viewer().prefers.time_zone)
    fault = _not_meant(bulk)
    as_of = _time(request.form.get("as_of", ""))
    if choices.faults or fault or as_of is None:
        return _previewed(bulk, choices, fault)
    try:
        order = order_of(bulk, choices, caller().queues)
        made, is_new = read(lambda conn: ordering.start_once(conn, order, as_of=as_of))
    except (PreviewNotKept, TooManyOperations, Invalid) as error:
        return _previewed(bulk, choices, f"{error}")
    if not is_new and (made.changes, made.spread_seconds) != (order.changes, order.spread_seconds):
        return _previewed(bulk, choices, OTHERWISE)
    return done("" if is_new else "Already started.", url_for("ui.operations.one", operation_id=made.id))


def _not_meant(bulk: Bulk) -> str:
    """Return which confirmation is missing, or ""."""
    form = request.form
    if bulk.is_of_every_job and form.get("every") != "1":
        return "No filter is set, so this affects every job. Tick the box to confirm."
    if bulk.verb.name == "delete" and form.get("sure", "").replace(",", "").strip() != form.get("matched", "-"):
        return "Nothing was deleted. Type the number of jobs to delete."
    return ""


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


@section.page("/operations/<uuid:operation_id>", Scope.OPERATE, every=1)
def one(operation_id: UUID) -> Page:
    """Return an operation and its progress."""
    return _page(operation_id)


def _page(operation_id: UUID, fault: str = "", status: int = 200) -> Page:
    found = read(lambda conn: ordering.find(conn, operation_id))
    is_over, now, word = found.status in OVER, viewer().now, word_of(found)
    filters, query = told_of(found.filter)
    may_act = found.action != "delete" or _may_delete()
    return Page(
        "operation.html",
        f"{word} jobs",
        status=status,
        is_live=not is_over,
        operation=found,
        word=word,
        is_over=is_over,
        filters=in_words(filters),
        jobs=None if query is None else f"{url_for('ui.jobs.show')}?{urlencode(query)}",
        share=found.share,
        percent=percent_of(found),
        speed_of=speed_of,
        rate=None if is_over else found.rate(now),
        seconds_left=None if is_over else _seconds_left(found, now),
        begins=not is_over and found.starts_at > now,
        is_alone=not is_over and found.starts_at <= now and may_act and _is_alone(),
        may_resume=found.status in RESUMABLE and may_act,
        fault=fault,
    )


def _seconds_left(operation: Operation, now: datetime) -> int | None:
    """Return about how long the operation will still take; None if that is not known."""
    rate = operation.rate(now)
    return None if rate is None or operation.share is None else round((operation.matched - operation.walked) / rate)


def _is_alone() -> bool:
    found = kept("health", (), lambda: part(lambda conn: worker_health(conn).workers))
    return found.value == 0


def _acted(operation_id: UUID, act: Callable[[Connection, UUID], object], sentence: str | None) -> Response | Page:
    try:
        read(lambda conn: act(conn, operation_id))
    except OperationConflict as error:
        return _page(operation_id, fault=str(error), status=409)
    place = url_for("ui.operations.one", operation_id=operation_id)
    return went_on(place) if sentence is None else done(sentence, place)


@section.act("/operations/<uuid:operation_id>/cancel", Scope.OPERATE)
def cancel(operation_id: UUID) -> Response | Page:
    """Cancel the rest of the operation."""
    return _acted(operation_id, ordering.cancel, "Cancelled. No more jobs are changed.")


@section.act("/operations/<uuid:operation_id>/resume", Scope.OPERATE)
def resume(operation_id: UUID) -> Response | Page:
    """Resume the operation."""
    return _acted(operation_id, ordering.resume, "Resumed.")


@section.act("/operations/<uuid:operation_id>/advance", Scope.OPERATE, slow=True)
def advance(operation_id: UUID) -> Response | Page:
    """Process some more jobs, if no worker is running."""
    return _acted(operation_id, ordering.advance, None)
