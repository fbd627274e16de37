"""What a pause takes, of a queue as of a schedule, and what is said of it then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from haulier.cli.client.api import Call
from haulier.cli.parts.invocation import Invocation
from haulier.cli.parts.options import Instant


def pause_options(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take until when to pause."""
    act = click.option("--until", "end", type=Instant(1), metavar="T", help="Until this time.")(act)
    return click.option("--for", "until", type=Instant(1), metavar="S", help="For so long; else until it is resumed.")(
        act
    )


def pause_at(invocation: Invocation, path: str, until: str | None, end: str | None) -> None:
    """Pause the queue or schedule of this path until then, and say so. Raises: click.UsageError."""
    if until is not None and end is not None:
        raise click.UsageError("--for and --until: give one of them")
    given = until or end
    steer(invocation, f"{path}/pause", {"until": given} if given else {})


def steer(invocation: Invocation, path: str, body: dict[str, Any] | None = None) -> None:
    """Do this to a queue or a schedule, and say whether it is paused now."""
    found = invocation.api.send(Call("POST", path, body=body, is_safe=True)).body
    until = f" until {found['paused_until']}" if found["paused_until"] else ""
    said = f"paused{until}" if found["paused"] else "not paused"
    invocation.terminal.show(found, lambda found: invocation.terminal.line(f"{found['name']}  {said}"))
