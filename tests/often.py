"""Which cases of a long list `make test` runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def often(cases: Iterable[tuple[Any, ...]], names: Collection[str]) -> list[Any]:
    """Return the parameters of each case: those of these names for `make test`, the others for `make test-slow`.

    A case is its name, and the values of its parameters.
    """
    found = list(cases)
    assert set(names) <= {name for name, *_ in found}
    return [
        pytest.param(*values, id=name, marks=() if name in names else (pytest.mark.slow,)) for name, *values in found
    ]
