"""JSON indented for reading, with every number as it was written, however many digits it has.

Values under secret-looking names are hidden until somebody asks for them. This protects from a glance over the shoulder
and is not a permission: the API gives them to the same key. What a kind marks as secret is masked earlier.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from haulier.domain.job import Json
from haulier.domain.text import count
from haulier.logs import MASK


def is_hidden(name: str, fragments: Iterable[str]) -> bool:
    """Return whether the value under this name is hidden: whether one of these is in it."""
    plain = name.lower().replace("-", "_")
    return any(each in plain for each in fragments)


MOST_CHARACTERS = 64 * 1024

Piece = tuple[str, str]


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Printed:
    """JSON as pieces of text, each with its look.

    `byte_count` is of the text that was printed; `is_cut` is true if only its beginning is here; hidden counts the
    values that are hidden.
    """

    pieces: tuple[Piece, ...]
    byte_count: int
    is_cut: bool = False
    hidden: int = 0


def printed(text: bytes, *, hides: Collection[str] = (), is_whole: bool = False) -> Printed:
    """Return the JSON set out, without the values under names that have one of `hides` in them.

    Not whole, it ends after MOST_CHARACTERS.
    """
    try:
        value: Json = json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
        setter = _Setter(hides)
        return _cut(setter.pieces(value), setter, len(text), MOST_CHARACTERS if not is_whole else len(text) * 20 + 100)
    except RecursionError:
        # Somebody has inserted it by SQL: nothing else takes such a depth.
        start = text[:MOST_CHARACTERS].decode("utf-8", "replace")
        return Printed((("", start),), len(text), len(text) > MOST_CHARACTERS)


def _cut(pieces: Iterator[Piece], setter: _Setter, byte_count: int, most: int) -> Printed:
    taken: list[Piece] = []
    for look, piece in pieces:
        if most <= 0:
            return Printed(tuple(taken), byte_count, True, setter.hidden)
        # Pieces of one look are one piece: each costs an element.
        if taken and taken[-1][0] == look == "":
            taken[-1] = ("", taken[-1][1] + piece[:most])
        else:
            taken.append((look, piece[:most]))
        most -= len(piece)
    return Printed(tuple(taken), byte_count, most < 0, setter.hidden)


class _Setter:
    def __init__(self, hides: Collection[str]) -> None:
        self._hides, self.hidden = hides, 0

    def pieces(self, value: Json, indent: str = "\n") -> Iterator[Piece]:
        if isinstance(value, dict) and value:
            yield from self._in_braces(value, indent)
        elif isinstance(value, list) and value:
            yield "", "["
            for place, each in enumerate(value):
                yield "", f"{',' if place else ''}{indent}  "
                yield from self.pieces(each, f"{indent}  ")
            yield "", f"{indent}]"
        else:
            yield _leaf(value)

    def _in_braces(self, value: dict[str, Any], indent: str) -> Iterator[Piece]:
        yield "", "{"
        for place, (name, each) in enumerate(value.items()):
            yield "", f"{',' if place else ''}{indent}  "
            yield "k", json.dumps(name, ensure_ascii=False)
            yield "", ": "
            if each not in (None, "") and is_hidden(name, self._hides):
                # The length would be the mask's, and nothing else can be shown.
                self.hidden += each != MASK
                length = "" if each == MASK else f", {count(len(_plain(each)), 'character')}"
                yield "masked", f"hidden{length}"
            else:
                yield from self.pieces(each, f"{indent}  ")
        yield "", f"{indent}}}"


def _leaf(value: Json) -> Piece:
    if isinstance(value, _Number):
        return "v", str(value)
    if isinstance(value, str):
        return "s", json.dumps(value, ensure_ascii=False)
    # null, true, false and what is empty.
    return "v", json.dumps(value)


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
