"""The kind of job that a move must neither lose nor run twice, for HAULIER_KINDS=lab.move.kinds."""

from __future__ import annotations

import os
from typing import Any

from haulier.kinds import JobContext, PayloadSchema, kind


class Nothing(PayloadSchema):
    """No field."""


@kind("noted", schema=Nothing)
def noted(context: JobContext, payload: dict[str, Any]) -> None:
    """Append the id of the job to a file, outside of the database."""
    descriptor = os.open(os.environ["MOVE_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{context.job.id}\n".encode())
    finally:
        os.close(descriptor)
