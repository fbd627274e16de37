"""`haulier jobs change` and `haulier jobs copy`: a job that waits, otherwise; a new job like another."""

from __future__ import annotations

from typing import Any

import click

from haulier.cli.job_commands.acting import each_of
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.job_fields import fields_of, job_options
from haulier.cli.parts.options import Ids, Payload, flat, job_ids
from haulier.client.api import Call

payload_option = click.option("--payload", type=Payload(), help="New payload; - reads it from stdin.")


def _changes(asked: dict[str, Any]) -> dict[str, Any]:
    payload = asked["payload"]
    return fields_of(asked) | ({} if payload is None else {"payload": payload})


@command("change", example="haulier jobs change 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --delay 10m --max-attempts 5")
@job_ids
@job_options
@payload_option
@pass_invocation
def change(invocation: Invocation, /, given: list[list[str]], **asked: Any) -> int:
    """Change waiting jobs."""
    changes = _changes(asked)
    if not changes:
        raise click.UsageError("give at least one change, such as --priority 5")
    return each_of(
        invocation,
        flat(given),
        lambda job: Call("PATCH", f"/jobs/{job}", body=changes, is_safe=True),
        lambda job, _: f"{job}  changed",
    )


@command("copy", example="haulier jobs copy 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --queue bulk")
@click.argument("given", metavar="ID", type=Ids())
@job_options
@payload_option
@pass_invocation
def copy(invocation: Invocation, /, given: list[str], **asked: Any) -> int:
    """Enqueue a copy of a job in any state, and print its id."""
    [job_id] = flat([given])
    # Not sent again: that would make another copy.
    answer = invocation.api.send(Call("POST", f"/jobs/{job_id}/copy", body=_changes(asked)))
    invocation.terminal.show(answer.body, lambda job: invocation.terminal.line(job["id"]))
    return 0
