"""`haulier enqueue`: one job, or those of a file."""

from __future__ import annotations

import json
import time
from threading import Event
from typing import Any
from uuid import uuid4

import click

from haulier.cli.client.api import Call
from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.service import KEY
from haulier.cli.job_commands.enqueue_file import Asked, enqueue_file
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import ClientCommand, Invocation, pass_invocation
from haulier.cli.parts.job_fields import fields_of, job_options
from haulier.cli.parts.options import Duration, Payload, seconds_of
from haulier.cli.terminal import words

FOR_EVER = float("inf")
# Of looking whether a job has ended: the first pause, and the longest.
SOON, LATER = 0.1, 2.0
ENDS = {"succeeded": Code.DONE, "failed_permanent": Code.JOB_FAILED, "cancelled": Code.JOB_CANCELLED}


class Enqueue(ClientCommand):
    """A command whose --wait has a value or none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. A word after --wait is its value if it is a duration, and else the next argument."""
        read = []
        for word, following in zip(args, [*args[1:], ""], strict=False):
            read.append("--wait=inf" if word == "--wait" and seconds_of(following) is None else word)
        return super().parse_args(ctx, read)


class Waiting(Duration):
    """A duration, or for ever."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds. Raises: click.BadParameter."""
        return FOR_EVER if value == "inf" else super().convert(value, param, ctx)


@click.command(
    "enqueue",
    cls=Enqueue,
    example="""\
haulier enqueue summarize_text '{"text": "The ship came in. It was late."}' --key summary-1
haulier enqueue --file jobs.ndjson --rejects refused.ndjson""",
)
@click.argument("kind", metavar="[KIND", required=False, shell_complete=completes("kinds"))
@click.argument("payload", metavar="[JSON | -]]", type=Payload(), required=False)
@job_options
@click.option("--key", metavar="KEY", help="The idempotency key; made up unless given.")
@click.option("--wait", type=Waiting(), metavar="[S]", help="Wait for its end, or for so long.")
@click.option("--file", metavar="F", help="Enqueue the jobs of this file, or of stdin for -: one as JSON on each line.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Lines a request.")
@click.option("--run", metavar="NAME", help="Of a file: what its idempotency keys begin with, instead of its hash.")
@click.option("--rejects", metavar="F", help="Write lines that are refused to this file.")
@click.option("--from-start", is_flag=True, help="Send lines again that were stored before.")
@pass_invocation
def enqueue(invocation: Invocation, /, kind: str | None, payload: dict[str, Any] | None, **asked: Any) -> int:
    """Enqueue a job, or those of a file.

    Prints the id of the job. JSON is its payload, or - to read that from stdin. With --wait the exit code says how it
    ended: 0, 7 if it failed for good, 8 if it was cancelled, 124 if it has not ended in time.

    With --file each line is a job as POST /jobs takes it, and is stored once, however often the command is started.
    """
    of_file = {name: asked.pop(name) for name in ("batch", "run", "rejects", "from_start")}
    if path := asked.pop("file"):
        if kind is not None or any(value not in (None, ()) for value in asked.values()):
            raise click.UsageError("--file: what a job is, its line says")
        return enqueue_file(invocation, Asked(path, **of_file))
    if kind is None:
        raise click.UsageError("Missing argument 'KIND'")
    return _enqueue_one(invocation, {"kind": kind, "payload": payload or {}}, asked)


def _enqueue_one(invocation: Invocation, request: dict[str, Any], asked: dict[str, Any]) -> int:
    wait, key = asked.pop("wait"), asked.pop("key")
    if key is not None and not KEY.fullmatch(key):
        raise click.UsageError("--key: must be 1 to 255 visible ASCII characters, none of them a space")
    request |= fields_of(asked)
    # With a key of its own the call can be repeated after a broken connection, and stores one job.
    headers = {"Idempotency-Key": key if key is not None else f"cli-{uuid4()}"}
    answer = invocation.api.send(Call("POST", "/jobs", body=request, headers=headers, is_safe=True))
    job = answer.body
    terminal = invocation.terminal
    if not terminal.as_json:
        terminal.line(job["id"])
    if answer.headers.get("Idempotent-Replayed") and key is not None:
        terminal.note(f"the key {key} is known: this is the job of then, {job['status']}")
    if wait is None:
        if terminal.as_json:
            terminal.json(job)
        return Code.DONE
    ended = wait_for(invocation, job["id"], wait)
    if terminal.as_json:
        terminal.json(ended)
    return say_end(invocation, ended, wait)


def wait_for(invocation: Invocation, job_id: str, seconds: float) -> dict[str, Any]:
    """Return the job when it has ended, or as it is after so long."""
    until, pause, woken = time.monotonic() + seconds, SOON, Event()
    while True:
        job: dict[str, Any] = invocation.api.get(f"/jobs/{job_id}").body
        left = until - time.monotonic()
        if job["status"] in ENDS or left <= 0:
            return job
        woken.wait(min(pause, left))
        pause = min(pause * 1.5, LATER)


def say_end(invocation: Invocation, job: dict[str, Any], seconds: float) -> Code:
    """Say how the job has ended, and return the exit code. Raises: CommandError if it has not."""
    if job["status"] not in ENDS:
        raise CommandError(f"{job['id']} is {job['status']} after {words.duration(seconds)}", Code.WAITED)
    ran = words.duration(words.since(job["started_at"], job["finished_at"]))
    invocation.terminal.note(f"{job['status'].replace('failed_permanent', 'failed for good')}, ran {ran}")
    if job["status"] == "failed_permanent":
        invocation.terminal.note(str(job["last_error"]))
    elif job["result"] is not None:
        invocation.terminal.note(f"result: {json.dumps(job['result'], ensure_ascii=False)}")
    return ENDS[job["status"]]
