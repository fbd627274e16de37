"""Shortens the list of a request's faults: a request of 1 MiB may have half a million of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haulier.domain.job import Json
from haulier.domain.text import cut

# At most this many faults are shown of a request, and of each job of a batch.
MAX_FAULTS, MAX_ITEM_FAULTS = 100, 10
# Names and sentences are cut at this length, because clients can make up names of any length.
MAX_NAME, MAX_SENTENCE = 100, 300


def shown(details: Mapping[str, Json], most: int = MAX_FAULTS) -> tuple[dict[str, Json], int]:
    """Return the first messages of marshmallow, each under its field, and how many were left out.

    Returns: A message about a nested value as a whole is at the value's place, not under `_schema` there. Messages
        about the whole request are under `_schema`, and are never left out.
    """
    picked = _Picked(most)
    return picked.mapping(details), picked.left_out


class _Picked:
    def __init__(self, most: int) -> None:
        self._room = most
        self.left_out = 0

    def mapping(self, details: Mapping[Any, Json]) -> dict[str, Json]:
        kept: dict[str, Json] = {}
        for key, each in details.items():
            name = cut(str(key), MAX_NAME)
            if (self._room or key == "_schema") and name not in kept:
                kept[name] = self._value(each)
            else:
                self.left_out += _count(each)
        return kept

    def _value(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            return self._value(value["_schema"]) if set(value) == {"_schema"} else self.mapping(value)
        if isinstance(value, list):
            return [self._value(each) for each in self._some(value)]
        self._room = max(0, self._room - 1)
        return cut(str(value), MAX_SENTENCE)

    def _some(self, sentences: list[Json]) -> list[Json]:
        some = sentences[: max(1, self._room)]
        self.left_out += sum(map(_count, sentences[len(some) :]))
        return some


def _count(value: Json) -> int:
    if isinstance(value, Mapping):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1
