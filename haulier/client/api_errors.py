"""What the client raises if a call has failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haulier.domain import errors


class HaulierError(errors.HaulierError):
    """A call has failed. Its text names the service, what is wrong and, for invalid input, the field.

    Attributes:
        message: The service's own sentence.
        status: The HTTP status; None if there was no answer.
        error: The API's word for the error, such as `validation`; empty if the answer is not one of Haulier's.
        details: The faults of invalid input, in its shape.
        request_id: Finds the call in the service's log.
    """

    status: int | None = None
    error: str = ""
    request_id: str | None = None

    def __init__(self, text: str, message: str | None = None) -> None:
        super().__init__(text)
        self.message = text if message is None else message
        self.details: dict[str, Any] = {}


class Refused(HaulierError):
    """The service has answered with an error. Units: retry_after is seconds."""

    # With defaults, so that it can be pickled.
    def __init__(self, text: str, *, status: int | None = None, said: Mapping[str, Any] | None = None) -> None:
        said = said or {}
        super().__init__(text, said.get("message"))
        self.status, self.error = status, said.get("error", "")
        details, self.request_id = said.get("details"), said.get("request_id")
        self.details = details if isinstance(details, dict) else {}
        self.retry_after: float | None = None


class Unreachable(HaulierError):
    """There was no answer.

    `was_sent` is False if the request cannot have arrived; may_pass is False if the next one would fail as well.
    """

    def __init__(self, text: str, *, was_sent: bool = True, may_pass: bool = True) -> None:
        super().__init__(text)
        self.was_sent, self.may_pass = was_sent, may_pass
