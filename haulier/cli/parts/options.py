"""Kinds of arguments: durations, times, JSON, ids.

The filter, the length of a list and a pause are the same in every command.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation
from haulier.cli.parts.param_type import ParamType
from haulier.cli.terminal.output import Cell, Column, Terminal
from haulier.client.api import Api, Call, Query
from haulier.client.pages import Listing
from haulier.domain.job import JobStatus
from haulier.domain.span import SPANS

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# What people say for failed_permanent.
STATUSES = {**{str(status): str(status) for status in JobStatus}, "failed": str(JobStatus.FAILED_PERMANENT)}
ERROR_ID = re.compile(r"[0-9a-f]{16}")
IDS_ON_STDIN = "-"


class Duration(ParamType[float]):
    """A duration, as 90s, 10m, 1h30m or 2d; a plain number means seconds. Units: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds. Raises: click.BadParameter."""
        seconds = value if isinstance(value, float) else seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is not a duration such as 90s, 10m, 1h30m or 2d", param, ctx)
        return seconds


def seconds_of(text: str) -> float | None:
    """Return how many seconds a text stands for; None if it is not a duration."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    if not re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?[smhdw])+", text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([smhdw])", text))


def whole(option: str, seconds: float | None) -> int | None:
    """Return a duration in whole seconds. Raises: click.UsageError, which names the option."""
    if seconds is not None and not seconds.is_integer():
        raise click.UsageError(f"{option}: must be whole seconds")
    return None if seconds is None else int(seconds)


class Instant(ParamType[str]):
    """A time: RFC 3339, or a date and time of this machine's zone; or a duration from now on, in this direction."""

    name = "time"

    def __init__(self, direction: int) -> None:
        self._direction = direction

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time as the API reads it. Raises: click.BadParameter."""
        try:
            if (seconds := seconds_of(value)) is not None:
                instant = datetime.now(UTC) + self._direction * timedelta(seconds=seconds)
            else:
                # Without an offset it is of this machine's zone.
                instant = datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-12-01T09:00:00Z, or a duration such as 1h", param, ctx)
        return instant.isoformat().replace("+00:00", "Z")


class Payload(ParamType[dict[str, Any]]):
    """An object of JSON, or - for what stdin says."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the object. Raises: click.BadParameter."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(sys.stdin.read() if value == "-" else value)
        except (ValueError, RecursionError) as error:
            self.fail(f"is not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail("must be an object, such as {}", param, ctx)
        return found


class Condition(ParamType[tuple[str, str]]):
    """A place of the payload and its value, as order.id=4711."""

    name = "PATH=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return place and value. Raises: click.BadParameter."""
        if isinstance(value, tuple):
            return value
        path, equals, text = value.partition("=")
        if not path or not equals:
            self.fail(f"{value!r} must be PATH=VALUE, such as order.id=4711", param, ctx)
        return path, text


class Ids(ParamType[list[str]]):
    """The id of a job or a worker, or - for those that stdin has, a line each."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the ids. Raises: click.BadParameter."""
        given = sys.stdin.read().split() if value == IDS_ON_STDIN else [value]
        try:
            return [str(UUID(each)) for each in given]
        except (ValueError, AttributeError):
            self.fail(f"{given} is not an id such as 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71", param, ctx)


def flat(given: Sequence[list[str]]) -> list[str]:
    """Return the ids of all arguments, each once. Raises: click.UsageError for none."""
    ids = list(dict.fromkeys(each for some in given for each in some))
    if not ids:
        raise click.UsageError("give at least one id")
    return ids


job_ids = click.argument("given", metavar="ID...", nargs=-1, type=Ids())
span_option = click.option(
    "--span",
    type=click.Choice(list(SPANS)),
    default="1h",
    show_default=True,
    help="Length of the period that ends now.",
)

# The filter, by the names of the API where they differ. Each may be given more than once but for the times and numbers.
FILTER = {"after": "created_after", "before": "created_before"}
_PAST = Instant(-1)
_FILTER_OPTIONS = (
    click.option("--status", type=click.Choice(list(STATUSES)), multiple=True, help="Only jobs in this state. *"),
    click.option(
        "--kind", multiple=True, metavar="KIND", shell_complete=completes("kinds"), help="Only jobs of this kind. *"
    ),
    click.option(
        "--queue", multiple=True, metavar="Q", shell_complete=completes("queues"), help="Only jobs of this queue. *"
    ),
    click.option("--tag", multiple=True, metavar="TAG", help="Only jobs with this tag. *"),
    click.option("--error", metavar="ID", help="Only jobs with an error of this group: its id, or a part of its text."),
    click.option("--worker", metavar="ID", help="Only jobs that this worker runs."),
    click.option("--key", metavar="KEY", help="Only the job with this idempotency key."),
    click.option(
        "--after", type=_PAST, metavar="T", help="Only jobs created after this time, or within this duration."
    ),
    click.option(
        "--before", type=_PAST, metavar="T", help="Only jobs created before this time, or longer ago than this."
    ),
    click.option("--finished-after", type=_PAST, metavar="T", help="Only jobs that ended after this time."),
    click.option("--finished-before", type=_PAST, metavar="T", help="Only jobs that ended before this time."),
    click.option(
        "--attempts-min", type=click.IntRange(0), metavar="N", help="Only jobs with at least this many attempts."
    ),
    click.option(
        "--payload", type=Condition(), multiple=True, help="Only jobs with this value at this path of the payload. *"
    ),
)


def _parameters() -> dict[str, click.Parameter]:
    """Return the parameters of the filter, by name."""

    def act() -> None: ...

    for option in reversed(_FILTER_OPTIONS):
        option(act)
    return {str(each.name): each for each in reversed(act.__click_params__)}  # type: ignore[attr-defined]


PARAMETERS = _parameters()


def filtered(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take the options of the filter, as one argument. `query` is what the API is asked."""

    @functools.wraps(act)
    def with_filter(*args: Any, **given: Any) -> Any:
        asked = {name: given.pop(name) for name in PARAMETERS}
        return act(*args, query=query_of(asked), **given)

    for option in reversed(_FILTER_OPTIONS):
        with_filter = option(with_filter)
    return with_filter


def query_of(asked: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the filter as the API reads it."""
    query = []
    for name, value in asked.items():
        if name == "payload":
            query += [(f"payload.{path}", text) for path, text in value]
        elif name == "status":
            query += [(name, STATUSES[each]) for each in value]
        elif isinstance(value, tuple):
            query += [(name, each) for each in value]
        elif value is not None:
            query.append((FILTER.get(name, name), str(value)))
    return query


def filter_in_json(query: Query) -> dict[str, Any]:
    """Return the filter as an object: what may be given more than once is a list, and a number is not a string."""
    asked: dict[str, Any] = {}
    for name, value in query:
        parameter = PARAMETERS.get(name)
        if parameter is not None and parameter.multiple:
            asked.setdefault(name, []).append(value)
        else:
            asked[name] = int(value) if parameter and isinstance(parameter.type, click.IntRange) else value
    return asked


def with_error_found(api: Api, query: Query) -> list[tuple[str, str]]:
    """Return the filter with the group's id if it has a part of its text or example. Raises: CommandError."""
    return [(name, error_id(api, value) if name == "error" else value) for name, value in query]


def error_id(api: Api, given: str) -> str:
    """Return the id of the group of errors: what is given, or of the only one with it in its text or its example."""
    if ERROR_ID.fullmatch(given):
        return given
    found = api.get("/errors", [("text", given), ("span", "30d"), ("limit", "6")]).body
    if not found:
        raise CommandError(f"no error group of the last 30 days has {given} in its text or example", Code.NOT_FOUND)
    if len(found) > 1:
        named = "; ".join(f"{each['id']} {each['text'][:60]}" for each in found[:5])
        raise CommandError(f"several error groups have {given} in their text or example: {named}", Code.USAGE)
    return str(found[0]["id"])


Row = Callable[[Terminal, dict[str, Any]], Sequence[Cell]]


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let the command take how many items to list."""
    return click.option(
        "--limit",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        metavar="N",
        help="Maximum number of rows.",
    )


def show_list(
    invocation: Invocation, path: str, columns: Sequence[Column], row: Row, *, limit: int, query: Query = ()
) -> None:
    """List the items at a path of the API. Raises: CommandError."""
    terminal = invocation.terminal
    items = Listing(invocation.api, path, query, limit=limit)
    terminal.show_each(items, lambda items: terminal.table(columns, [row(terminal, each) for each in items]))
    warn_of_end(terminal, path, items)


def warn_of_end(terminal: Terminal, path: str, items: Listing) -> None:
    """Say how far a list came, if it did not come to its end."""
    if end := items.looked_back_to:
        what = "jobs" if path == "/jobs" else "entries"
        terminal.warn(f"searched back to {end}; older {what} may match: continue with --before {end}")


def pause_options(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take until when to pause."""
    act = click.option("--until", "end", type=Instant(1), metavar="T", help="End time.")(act)
    return click.option(
        "--for", "until", type=Instant(1), metavar="S", help="Duration; without it, until it is resumed."
    )(act)


def pause_at(invocation: Invocation, path: str, until: str | None, end: str | None) -> None:
    """Pause the queue or schedule of this path until then, and say so. Raises: click.UsageError."""
    if until is not None and end is not None:
        raise click.UsageError("give either --for or --until")
    given = until or end
    steer(invocation, f"{path}/pause", {"until": given} if given else {})


def steer(invocation: Invocation, path: str, body: dict[str, Any] | None = None) -> None:
    """Do this to a queue or a schedule, and say whether it is paused now."""
    found = invocation.api.send(Call("POST", path, body=body, is_safe=True)).body
    until = f" until {found['paused_until']}" if found["paused_until"] else ""
    said = f"paused{until}" if found["paused"] else "not paused"
    invocation.terminal.show(found, lambda found: invocation.terminal.line(f"{found['name']}  {said}"))
