"""What ends a command: its exit code, and a line for stderr."""

from __future__ import annotations

from enum import IntEnum

from haulier.domain.errors import HaulierError


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


class Refused(CommandError):
    """The service has answered with an error. `slug` is the API's word for it. Units: seconds."""

    def __init__(self, message: str, code: Code, *, status: int, slug: str = "") -> None:
        super().__init__(message, code)
        self.status, self.slug = status, slug
        self.retry_after: float | None = None


class Unreachable(CommandError):
    """There was no answer.

    `was_sent` is False if the request cannot have arrived; may_pass is False if the next one would fail as well.
    """

    def __init__(self, message: str, *, was_sent: bool, may_pass: bool = True) -> None:
        super().__init__(message, Code.UNREACHABLE)
        self.was_sent, self.may_pass = was_sent, may_pass


def worst(codes: list[Code]) -> Code:
    """Return the code of a command that did several things: that of all, or IN_PART if they differ."""
    return codes[0] if len(set(codes)) == 1 else Code.IN_PART
