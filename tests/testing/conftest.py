"""What the tests of haulier.testing start from."""

from __future__ import annotations

import pytest

from haulier.kinds.sdk import registry


@pytest.fixture
def own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget, after the test, the kinds that it made known."""
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
