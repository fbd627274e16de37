"""What ends a command: its exit code, and a line for stderr."""

from __future__ import annotations

from enum import IntEnum

from haulier.client.api_errors import HaulierError as ServiceError
from haulier.domain.errors import HaulierError

NO_KEY = {401, 403}


class Code(IntEnum):
    """How a command has ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_KEY = 4
    UNREACHABLE = 5
    IN_PART = 6
    JOB_FAILED = 7
    JOB_CANCELLED = 8
    WAITED = 124
    INTERRUPTED = 130


class CommandError(HaulierError):
    """The command cannot do what was asked."""

    def __init__(self, message: str, code: Code = Code.REFUSED) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: HaulierError) -> Code:
    """Return the exit code of a command that this has ended."""
    if isinstance(error, CommandError):
        return error.code
    if not isinstance(error, ServiceError):
        return Code.REFUSED
    # Without a status there was no answer, and without a word of the API another program has answered.
    if error.status is None or not error.error or error.status >= 500:
        return Code.UNREACHABLE
    if error.status in NO_KEY:
        return Code.NO_KEY
    return Code.NOT_FOUND if error.status == 404 else Code.REFUSED


def worst(codes: list[Code]) -> Code:
    """Return the code of a command that did several things: that of all, or IN_PART if they differ."""
    return codes[0] if len(set(codes)) == 1 else Code.IN_PART
