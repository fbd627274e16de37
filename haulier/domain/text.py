"""Texts of any length, as they are shown."""

from __future__ import annotations


def cut(text: str, most: int) -> str:
    """Return the text, or of a longer one at most so many characters, of which the last tells that there is more."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
