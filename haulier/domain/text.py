"""What is shown to people: texts of any length, and sizes."""

from __future__ import annotations


def cut(text: str, most: int) -> str:
    """Return the text, or of a longer one at most so many characters, of which the last tells that there is more."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def size(byte_count: float) -> str:
    """Return how large something is, as Postgres says it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if byte_count < 10_240:
            return f"{byte_count:.0f} {unit}"
        byte_count /= 1024
    return f"{byte_count:.0f} TB"
