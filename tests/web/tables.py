"""Tables of examples with one meaning, of which a test prints every row that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check_each(call: Callable[..., Any], *examples: tuple[Any, ...]) -> None:
    """Check that the call returns the last value of each example for the values before it."""
    wrong = []
    for *values, expected in examples:
        returned = call(*values)
        if returned != expected:
            wrong.append(f"{values} returns {returned!r}, not {expected!r}")
    assert not wrong, "\n".join(wrong)
