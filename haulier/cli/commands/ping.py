"""`haulier ping`: how long a round trip takes, or a job from its enqueuing to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.job_commands.enqueue import ENDS, FOR_EVER, wait_for
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Payload
from haulier.cli.terminal import words
from haulier.client.api import Call


@command("ping", example="haulier ping -n 5")
@click.option(
    "-n", "times", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Number of round trips or jobs."
)
@click.option(
    "--job", "kind", metavar="KIND", shell_complete=completes("kinds"), help="Measure jobs of this kind instead."
)
@click.option("--payload", type=Payload(), help="Payload of these jobs.")
@pass_invocation
def ping(invocation: Invocation, times: int, kind: str | None, payload: dict[str, Any] | None) -> None:
    """Measure round trips to the service and its database.

    With --job it enqueues jobs one after the other and measures the time from enqueuing to their end, by the clock of
    the service.
    """
    terminal = invocation.terminal
    if kind is None:
        if payload is not None:
            raise click.UsageError("--payload needs --job")
        # The first one makes the connection.
        _round_trip(invocation)
        measure: Callable[[], float] = lambda: _round_trip(invocation)  # noqa: E731
    else:
        measure = lambda: _job(invocation, kind, payload or {})  # noqa: E731
    found = sorted(_measured(measure, times))
    figures = {"n": times, "least": found[0], "p50": at(found, 0.5), "p95": at(found, 0.95), "most": found[-1]}
    what = f"{times} round trips to {invocation.service.host}" if kind is None else f"{times} jobs of {kind}"
    said = ", ".join(f"{name} {words.duration(figures[name])}" for name in ("p50", "p95", "least", "most"))
    seconds = {f"{name}_seconds" if name != "n" else name: value for name, value in figures.items()}
    terminal.show(seconds, lambda _: terminal.line(f"{what}: {said}"))


def _measured(measure: Callable[[], float], times: int) -> Iterator[float]:
    for _ in range(times):
        yield measure()


def at(ordered: list[float], share: float) -> float:
    """Return the least value that this many are not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _round_trip(invocation: Invocation) -> float:
    began = time.perf_counter()
    invocation.api.get("/health")
    return time.perf_counter() - began


def _job(invocation: Invocation, kind: str, payload: dict[str, Any]) -> float:
    headers = {"Idempotency-Key": f"ping-{uuid4()}"}
    call = Call("POST", "/jobs", body={"kind": kind, "payload": payload}, headers=headers, is_safe=True)
    job = wait_for(invocation, invocation.api.send(call).body["id"], FOR_EVER)
    if (code := ENDS[job["status"]]) is not Code.DONE:
        raise CommandError(f"{job['id']} is {job['status']}: {job['last_error']}", code)
    return words.since(job["created_at"], job["finished_at"]) or 0.0
