"""What a job can be given, as options: of a new one, of a change, of a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from haulier.cli.parts.completing import completes
from haulier.cli.parts.options import Duration, Instant, whole

# Of a schedule's job too, whose time a tick decides.
SETTINGS = (
    click.option("--queue", metavar="Q", shell_complete=completes("queues"), help="Queue of the job."),
    click.option("--priority", type=int, metavar="N", help="-100 to 100; higher runs first."),
    click.option(
        "--max-attempts", type=int, metavar="N", help="Number of failed attempts after which the job fails permanently."
    ),
    click.option("--timeout", type=Duration(), help="Time limit of one attempt."),
    click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label for finding the job; may be repeated."),
)
OPTIONS = (
    *SETTINGS,
    click.option("--delay", type=Duration(), help="Delay until the job may start; 0 for now."),
    click.option("--at", "run_at", type=Instant(1), metavar="T", help="Earliest start, instead of --delay."),
)
SAME = ("queue", "priority", "run_at", "max_attempts")


def job_options(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take what a job can be given."""
    for option in reversed(OPTIONS):
        act = option(act)
    return act


def fields_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given as the API reads them. Raises: click.UsageError."""
    if asked["delay"] is not None and asked["run_at"] is not None:
        raise click.UsageError("give either --delay or --at")
    fields = {
        **{name: asked[name] for name in SAME},
        "delay_seconds": asked["delay"],
        "timeout_seconds": whole("--timeout", asked["timeout"]),
        "tags": list(asked["tags"]) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
