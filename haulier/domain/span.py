"""The spans of time of which there are figures."""

from __future__ import annotations

from collections.abc import Mapping

# How long each is, and each step of its series. Units: seconds.
SPANS: Mapping[str, tuple[int, int]] = {
    "1h": (3600, 60),
    "6h": (6 * 3600, 300),
    "24h": (24 * 3600, 900),
    "7d": (7 * 86_400, 3600),
    "30d": (30 * 86_400, 21_600),
}

# Of which one reads what fails, unless another is asked for.
DEFAULT_SPAN = "24h"
