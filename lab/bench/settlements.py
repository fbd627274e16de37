"""How jobs of the bench end."""

from __future__ import annotations

from collections.abc import Iterable

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome


def done(fences: Iterable[Fence]) -> list[Settlement]:
    """Return settlements by which these jobs have succeeded."""
    return [Settlement(fence, Outcome.complete()) for fence in fences]


def failed(fences: Iterable[Fence]) -> list[Settlement]:
    """Return settlements by which these jobs have failed."""
    failure = Failure(fingerprint("noop", "no luck"), "default", "no luck")
    return [Settlement(fence, Outcome.fail_for_good("no luck"), failure=failure) for fence in fences]
