"""`haulier schedules`: shows and steers what is enqueued by the clock; what makes and changes it is in another file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import quote

import click

from haulier.cli.parts.asking import ask
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Duration, Instant, limit_option, pause_at, pause_options, show_list, steer, whole
from haulier.cli.terminal import words
from haulier.cli.terminal.output import INDENT, Cell, Terminal, columns_of
from haulier.client.api import Call

COLUMNS = columns_of("NAME, WHEN, HOW, NEXT, KIND, QUEUE, SOURCE")
TICK_COLUMNS = columns_of("TICK, OUTCOME, LATE, JOB", numbers="LATE")
NEXT_COLUMNS = columns_of("AT, LOCAL, NOTE", long="NOTE")

schedule_name = click.argument("name", metavar="NAME", shell_complete=completes("schedules"))


def path_of(name: str, act: str = "") -> str:
    """Return the path of a call about a schedule."""
    return f"/schedules/{quote(name, safe='')}{act}"


@command("list", example="haulier schedules list")
@limit_option(200)
@pass_invocation
def list_schedules(invocation: Invocation, limit: int) -> None:
    """List the schedules, by name."""
    show_list(invocation, "/schedules", COLUMNS, schedule_row, limit=limit)


def schedule_row(terminal: Terminal, schedule: dict[str, Any]) -> list[Cell]:
    """Return the row of a schedule."""
    return [
        schedule["name"],
        when(schedule),
        terminal.state(how(schedule)),
        terminal.when(schedule["next_at"]),
        str(schedule["job"]["kind"]),
        str(schedule["job"].get("queue", "default")),
        schedule["source"],
    ]


def when(schedule: Mapping[str, Any]) -> str:
    """Return when a schedule fires, in a few words."""
    if schedule["cron"] is None:
        return f"every {schedule['every_seconds']} s"
    return f"{schedule['cron']} {schedule['time_zone']}"


def how(schedule: Mapping[str, Any]) -> str:
    """Return how a schedule is, in a word: with no tick to come it has ended."""
    if schedule["paused"]:
        return "paused"
    if schedule.get("refused"):
        return "refused"
    return "ended" if schedule["next_at"] is None else "active"


@command("show", example="haulier schedules show nightly")
@schedule_name
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show a schedule, its next ten ticks and the outcome of the last ten."""
    schedule = invocation.api.get(path_of(name)).body
    invocation.terminal.show(schedule, lambda schedule: _show(invocation.terminal, schedule))


def _show(terminal: Terminal, schedule: dict[str, Any]) -> None:
    job = schedule["job"]
    terminal.styled(schedule["name"], terminal.state(how(schedule)), when(schedule))
    if schedule["paused_until"]:
        _line(terminal, "paused", f"until {schedule['paused_until']}")
    if refused := schedule.get("refused"):
        _line(terminal, "refused", f"{refused['times']} × since {refused['since']}: {refused['message']}")
        _line(terminal, "", f"tried again at {refused['until']}")
    _line(terminal, "source", schedule["source"])
    _line(terminal, "overlap", schedule["overlap"])
    _line(terminal, "missed", _missed(schedule))
    if schedule["jitter_seconds"]:
        _line(terminal, "jitter", f"up to {words.duration(schedule['jitter_seconds'])}")
    settings = [f"{name} {_plain(value)}" for name, value in sorted(job.items()) if name not in ("kind", "payload")]
    _line(terminal, "job", "  ".join([job["kind"], *settings]))
    terminal.block("payload", json.dumps(job["payload"], ensure_ascii=False))
    terminal.line()
    if schedule["waiting_at"]:
        _line(terminal, "waits", f"the tick of {schedule['waiting_at']}, for a job to end")
    for place, tick in enumerate(schedule["next_ticks"]):
        _line(terminal, "" if place else "next", tick)
    terminal.line()
    terminal.table(TICK_COLUMNS, [_tick_row(terminal, each) for each in schedule["last_ticks"]])


def _line(terminal: Terminal, name: str, text: str) -> None:
    terminal.line(f"{name:<{INDENT}}{text}")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _missed(schedule: Mapping[str, Any]) -> str:
    if schedule["missed_max"] is None:
        return str(schedule["missed"])
    return f"all, up to {schedule['missed_max']} within {words.duration(schedule['missed_within_seconds'])}"


def _tick_row(terminal: Terminal, tick: dict[str, Any]) -> list[Cell]:
    late = words.since(tick["scheduled_at"], tick["fired_at"])
    return [
        tick["scheduled_at"],
        terminal.state(tick["outcome"]),
        words.duration(late),
        tick["job_id"] or words.NOTHING,
    ]


@command("ticks", example="haulier schedules ticks nightly --limit 50")
@schedule_name
@limit_option(50)
@pass_invocation
def list_ticks(invocation: Invocation, name: str, limit: int) -> None:
    """List the past ticks of a schedule with their outcomes, newest first."""
    show_list(invocation, path_of(name, "/ticks"), TICK_COLUMNS, _tick_row, limit=limit)


@command("pause", example="haulier schedules pause nightly --for 12h")
@schedule_name
@pause_options
@pass_invocation
def pause(invocation: Invocation, name: str, until: str | None, end: str | None) -> None:
    """Pause a schedule. Ticks during the pause are skipped and do not fire later."""
    pause_at(invocation, path_of(name), until, end)


@command("resume", example="haulier schedules resume nightly")
@schedule_name
@pass_invocation
def resume(invocation: Invocation, name: str) -> None:
    """Resume a schedule."""
    steer(invocation, path_of(name, "/resume"))


@command("run", example="haulier schedules run nightly")
@schedule_name
@pass_invocation
def run(invocation: Invocation, name: str) -> None:
    """Enqueue the job of a schedule now, even if it is paused, and print the id of the job."""
    # Not sent again: that would make another job.
    made = invocation.api.send(Call("POST", path_of(name, "/run"))).body
    invocation.terminal.show(made, lambda made: invocation.terminal.line(made["job_id"]))


@command("delete", example="haulier schedules delete nightly --yes")
@schedule_name
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_invocation
def delete(invocation: Invocation, name: str, yes: bool) -> None:
    """Delete a schedule. Jobs already enqueued still run."""
    if not yes:
        ask(invocation, f"Delete the schedule {name}", is_final=True)
    # Not sent again: the answer to the second one would be that there is no such schedule.
    invocation.api.send(Call("DELETE", path_of(name)))
    if not invocation.terminal.as_json:
        invocation.terminal.line(f"{name}  deleted")


@command(
    "next",
    example="""\
haulier schedules next nightly
haulier schedules next --cron "30 2 * * *" --zone Europe/Berlin --from 2026-03-28 --count 3""",
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=completes("schedules"))
@click.option("--cron", metavar="EXPR", help="Five fields, or @daily and the like, instead of a schedule's name.")
@click.option("--every", type=Duration(), help="Interval, instead of a schedule's name.")
@click.option("--zone", metavar="ZONE", help="Time zone of --cron; UTC by default.")
@click.option("--from", "after", type=Instant(1), metavar="T", help="Only ticks after this time; now by default.")
@click.option("--count", type=click.IntRange(1, 100), default=10, show_default=True, metavar="N", help="How many.")
@pass_invocation
def next_ticks(invocation: Invocation, /, name: str | None, count: int, **asked: Any) -> None:
    """Show when a schedule fires next and how clock changes affect it.

    With --cron or --every it previews a schedule that does not exist yet. Nothing is stored.
    """
    terminal = invocation.terminal
    body = _timetable(asked) if name is None else _timetable_of(invocation, name, asked)
    found = [] if body is None else _preview(invocation, {**body, "count": count})
    terminal.show_each(found, lambda ticks: terminal.table(NEXT_COLUMNS, [_next_row(each) for each in ticks]))


def _preview(invocation: Invocation, body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = invocation.api.send(Call("POST", "/schedules/preview", body=body, is_safe=True)).body
    return found


def _timetable(asked: dict[str, Any]) -> dict[str, Any]:
    if (asked["cron"] is None) == (asked["every"] is None):
        raise click.UsageError("give the name of a schedule, --cron or --every")
    body = {
        "cron": asked["cron"],
        "every_seconds": whole("--every", asked["every"]),
        "time_zone": asked["zone"],
        "from": asked["after"],
    }
    return {name: value for name, value in body.items() if value is not None}


def _timetable_of(invocation: Invocation, name: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return what to ask of the schedule's ticks; None if there is none to come."""
    if any(asked[given] is not None for given in ("cron", "every", "zone")):
        raise click.UsageError("give either the name of a schedule, or --cron, --every and --zone")
    schedule = invocation.api.get(path_of(name)).body
    if schedule["paused"]:
        until = f" until {schedule['paused_until']}" if schedule["paused_until"] else ""
        invocation.terminal.note(f"{name} is paused{until}: ticks during the pause are skipped")
    after = asked["after"]
    if schedule["cron"] is not None:
        body = {"cron": schedule["cron"], "time_zone": schedule["time_zone"], "from": after}
        return {name: value for name, value in body.items() if value is not None}
    return _every(schedule, after)


def _every(schedule: Mapping[str, Any], after: str | None) -> dict[str, Any] | None:
    """Return what to ask: the preview counts from its beginning, which has to be a tick of the schedule."""
    upcoming = words.moment(schedule["next_at"])
    if upcoming is None:
        return None
    every = timedelta(seconds=schedule["every_seconds"])
    begin = upcoming - every
    later = words.moment(after)
    if later is not None and later > begin:
        begin += (later - begin) // every * every
    return {"every_seconds": schedule["every_seconds"], "from": begin.astimezone(UTC).isoformat()}


def _next_row(tick: Mapping[str, Any]) -> list[Cell]:
    return [tick["scheduled_at"], tick["local"], tick["note"] or ""]


COMMANDS = (list_schedules, show, list_ticks, pause, resume, run, delete, next_ticks)
