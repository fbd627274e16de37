"""`haulier schedules create` and `edit`: what is enqueued, when, and what becomes of ticks that cannot fire in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from haulier.cli.client.client_errors import CommandError
from haulier.cli.commands.schedules import path_of, schedule_name, when
from haulier.cli.job_commands.changing import payload_option
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.job_fields import SETTINGS, fields_of
from haulier.cli.parts.options import Duration, Payload, whole
from haulier.client.api import Call
from haulier.client.api_errors import Refused
from haulier.domain.job import NAME_PATTERN

OPTIONS = (
    click.option("--cron", metavar="EXPR", help='Five fields, as "0 2 * * *", or @daily and the like.'),
    click.option("--every", type=Duration(), help="Interval, instead of --cron."),
    click.option("--zone", metavar="ZONE", help="Time zone of --cron, such as Europe/Berlin; UTC by default."),
    click.option(
        "--overlap",
        type=click.Choice(["allow", "skip", "queue_one"]),
        help="What a tick does while a job of the schedule is live; allow by default.",
    ),
    click.option(
        "--missed",
        type=click.Choice(["skip", "last", "all"]),
        help="Which ticks to make up if no worker was running; last by default.",
    ),
    click.option("--missed-max", type=int, metavar="N", help="With --missed all: at most this many."),
    click.option("--missed-within", type=Duration(), help="With --missed all: only ticks of this last period."),
    click.option(
        "--jitter",
        type=Duration(),
        help="Delay each tick by a random time of up to this.",
    ),
    *SETTINGS,
)
# Those that a name of the API's stands for as they are; and durations, in whole seconds.
SAME = {"cron": "cron", "zone": "time_zone", "overlap": "overlap", "missed": "missed", "missed_max": "missed_max"}
SECONDS = {"every": "every_seconds", "missed_within": "missed_within_seconds", "jitter": "jitter_seconds"}
RULE = ("cron", "every_seconds", "time_zone", "job", "overlap", "missed", "missed_max", "missed_within_seconds",
        "jitter_seconds")  # fmt: skip


def rule_options(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take what a schedule can be given."""
    for option in reversed(OPTIONS):
        act = option(act)
    return act


def _rule(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, but for those of the job, as the API reads them. Raises: click.UsageError."""
    if asked["cron"] is not None and asked["every"] is not None:
        raise click.UsageError("give either --cron or --every")
    found = {field: asked[option] for option, field in SAME.items()}
    found |= {field: whole(f"--{option.replace('_', '-')}", asked[option]) for option, field in SECONDS.items()}
    return {field: value for field, value in found.items() if value is not None}


def _job(asked: dict[str, Any]) -> dict[str, Any]:
    return fields_of({**asked, "delay": None, "run_at": None})


def _checked_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise click.BadParameter(f"{name!r} must begin with a letter a-z, then up to 63 of a-z, 0-9, '_', '.', '-'")
    return name


@command(
    "create",
    example="""haulier schedules create nightly summarize_text '{"text": "One. Two."}' --cron '30 2 * * *'""",
)
@click.argument("name", metavar="NAME", callback=_checked_name)
@click.argument("kind", metavar="KIND", shell_complete=completes("kinds"))
@click.argument("payload", metavar="[JSON]", type=Payload(), required=False)
@rule_options
@click.option("--paused", is_flag=True, help="Create it paused.")
@pass_invocation
def create(invocation: Invocation, /, name: str, kind: str, payload: dict[str, Any] | None, **asked: Any) -> None:
    """Create a schedule, which enqueues a job at set times.

    JSON is the payload of the job; - reads it from stdin.
    """
    if asked["cron"] is None and asked["every"] is None:
        raise click.UsageError("give --cron or --every")
    body = {**_rule(asked), "job": {"kind": kind, "payload": payload or {}, **_job(asked)}}
    if asked["paused"]:
        body["paused"] = True
    if _is_there(invocation, name):
        raise CommandError(f"the schedule {name} exists already: change it with `haulier schedules edit {name}`")
    _put(invocation, name, body)


def _is_there(invocation: Invocation, name: str) -> bool:
    try:
        invocation.api.get(path_of(name))
    except Refused as refused:
        if refused.status == 404 and refused.error:
            return False
        raise
    return True


@command("edit", example="haulier schedules edit nightly --cron '0 3 * * *' --priority 5")
@schedule_name
@click.option("--kind", metavar="KIND", shell_complete=completes("kinds"), help="New kind of the job.")
@payload_option
@rule_options
@pass_invocation
def edit(invocation: Invocation, /, name: str, kind: str | None, payload: dict[str, Any] | None, **asked: Any) -> None:
    """Change a schedule. Options that are not given stay unchanged.

    Ticks that are already due fire by the old rule.
    """
    changes, of_job = _rule(asked), _job(asked)
    of_job |= {field: value for field, value in (("kind", kind), ("payload", payload)) if value is not None}
    if not changes and not of_job:
        raise click.UsageError("give at least one change, such as --cron '0 3 * * *'")
    found = invocation.api.get(path_of(name)).body
    body = {field: found[field] for field in RULE} | changes
    body["job"] = {**found["job"], **of_job}
    _drop_what_gives_way(body, changes)
    _put(invocation, name, body)


def _drop_what_gives_way(body: dict[str, Any], changes: dict[str, Any]) -> None:
    """Take out of the schedule what a change replaces."""
    if "cron" in changes:
        body["every_seconds"] = None
    if "every_seconds" in changes:
        # It knows no zone.
        body["cron"], body["time_zone"] = None, changes.get("time_zone")
    if body["missed"] != "all":
        for field in {"missed_max", "missed_within_seconds"} - changes.keys():
            body[field] = None


def _put(invocation: Invocation, name: str, body: dict[str, Any]) -> None:
    # An equal one changes nothing, so it may be sent again.
    made = invocation.api.send(Call("PUT", path_of(name), body=body, is_safe=True)).body
    upcoming = made["next_at"] or "never"
    terminal = invocation.terminal
    terminal.show(made, lambda made: terminal.line(f"{made['name']}  {when(made)}  next {upcoming}"))
