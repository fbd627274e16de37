"""The entries of a benchmark, as tests choose among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.bench.harness import Entry


def named(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """Yield each with its name before it."""
    yield from ((entry.name, entry) for entry in entries)
