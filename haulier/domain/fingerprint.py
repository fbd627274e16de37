"""The fingerprint of a failed attempt: what its error has in common with others of the same cause."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

# What stands for each part that differs from job to job.
LEFT_OUT = "…"
MOST_CHARACTERS = 500
# This much of the first line is read: what is left out may be long.
_READ_CHARACTERS = 4 * MOST_CHARACTERS
# Further rounds over a text: nearly always one, which finds nothing.
_MOST_PASSES = 8
# The text of what has no fingerprint of its own, since its kind has had too many.
OTHER_TEXT = "other errors"
# A change of how texts are normalised gives each error a new id: the version keeps the old ones apart.
_VERSION = 1

# Each part begins only where a token does, or is bounded: so no text takes longer than its length.
_PARTS = re.compile(
    r"""
    (?P<named>(?<![\w…])(?:host|hostname)=(?P<around>['"])[\w.:-]{1,253}(?P=around))
    | (?P<url>(?<![A-Za-z0-9+.…-])[A-Za-z][A-Za-z0-9+.-]{0,20}://)
        (?:[^\s/?\#'"<>]{0,200}@)? (?P<authority>[^\s/?\#'"<>@:…]{1,253}) (?P<port>:(?:\d+|…))?
        (?P<path>[/?\#][^\s'"<>)]+)?
    | (?P<email>(?<![\w.+…-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,10})
    | (?P<quoted>
        (?<![\w…])[bru]?'[^']{1,1000}'(?![\w…]) | (?<![\w…])[bru]?"[^"]{1,1000}"
        | `[^`]{1,1000}` | “[^”]{1,1000}” | «[^»]{1,1000}» | ‘[^’]{1,1000}’
      )
    | (?P<file>(?<![\w.…-])[\w.-]{1,100}\.[A-Za-z]{1,4}):(?:\d+|…)(?![\w.])
    | (?P<id>(?<![0-9A-Za-z…])(?:
        [0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12} | 0[xX][0-9a-fA-F]+ | (?=[a-fA-F]{0,200}\d)[0-9a-fA-F]{8,}
      )(?![0-9A-Za-z]))
    | (?P<number>(?<![^\s(\[{=:,])-?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)? | \d+(?:[.,]\d+)*)
    """,
    re.VERBOSE,
)

_OPENING = re.compile(r"[bru]?.")


class Fingerprint(NamedTuple):
    """What the failed attempts of one group have in common. `id` is a signed 64-bit integer."""

    id: int
    kind: str
    text: str


def fingerprint(kind: str, error: str) -> Fingerprint:
    """Return the fingerprint of an attempt of this kind that failed with this error."""
    return _of(kind, normalised(error))


def other_errors(kind: str) -> Fingerprint:
    """Return the fingerprint that all further errors of a kind share once it has had too many."""
    return _of(kind, OTHER_TEXT)


def normalised(error: str) -> str:
    """Return the first line of an error without its ids, numbers, addresses, quoted parts and the paths of URLs.

    At most 500 characters, with `…` for what was left out. Hosts, and the file of a line, stay.
    """
    text = _PARTS.sub(_shown, error.strip().partition("\n")[0][:_READ_CHARACTERS])[:MOST_CHARACTERS].rstrip()
    # What a replacement, or the cut, has left may look like a part itself: the text of a group is one that stays.
    for _ in range(_MOST_PASSES):
        before, text = text, _PARTS.sub(_shown, text)
        if text == before:
            break
    return text


def _of(kind: str, text: str) -> Fingerprint:
    digest = hashlib.sha256(f"{_VERSION}\n{kind}\n{text}".encode()).digest()
    return Fingerprint(int.from_bytes(digest[:8], "big", signed=True), kind, text)


def _shown(found: re.Match[str]) -> str:
    part = found.lastgroup
    if found["url"]:
        port, path = found["port"] and f":{LEFT_OUT}", found["path"] and f"{found['path'][0]}{LEFT_OUT}"
        return f"{found['url']}{found['authority']}{port or ''}{path or ''}"
    if found["named"]:
        return found["named"]
    if found["file"]:
        return f"{found['file']}:{LEFT_OUT}"
    if part == "quoted":
        return f"{_OPENING.match(found[0])[0]}{LEFT_OUT}{found[0][-1]}"  # type: ignore[index]
    return LEFT_OUT


# How an id stands in URLs and JSON: as an integer, JavaScript would change its last digits.
ID_PATTERN = r"^[0-9a-f]{16}$"


def id_text(error_id: int) -> str:
    """Return the id as 16 hex digits."""
    return f"{error_id % 2**64:016x}"


def read_id(text: str) -> int:
    """Return the id of the 16 hex digits. Raises: ValueError."""
    if not re.fullmatch(ID_PATTERN, text):
        raise ValueError("not 16 hex digits")
    number = int(text, 16)
    return number - 2**64 if number >= 2**63 else number
