"""What the tests of haulier.testing start from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from haulier.kinds.sdk import registry

# pytest imports all tests before it runs one: these kinds are to be known in the tests of this folder alone.
_before = set(registry._kinds)
importlib.import_module("tests.testing.kinds_to_test")
OURS = {name: registry._kinds.pop(name) for name in set(registry._kinds) - _before}


@pytest.fixture(autouse=True, scope="module")
def _known_here() -> Iterator[None]:
    registry._kinds.update(OURS)
    yield
    for name in OURS:
        registry._kinds.pop(name, None)
