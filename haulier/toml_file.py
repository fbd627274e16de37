"""Read a file of TOML within limits on its length and on the parts of its keys."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from haulier.domain.errors import ConfigError
from haulier.domain.job import MAX_DEPTH

MOST_BYTES = 4 * 1024 * 1024
# The parser's time grows with the square of the parts of a key: a key of 100 KB took over a minute. The bound is 16
# above MAX_DEPTH, so that a table that is only a bit too deep can be refused with its schedule and its field.
MOST_KEY_PARTS = MAX_DEPTH + 16
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+(?:"|$)|'[^'\n]*+(?:'|$))"""
_NEXT_PART = rf"[ \t]*+\.[ \t]*+{_PART}"
# A key with too many parts; or a string or a comment, which may hold text that looks like such a key.
_LONG_KEY = re.compile(
    rf"(?P<key>{_PART}(?:{_NEXT_PART}){{{MOST_KEY_PARTS}}})"
    r'|"""(?:[^\\]|\\.)*?(?:"{3,5}|\Z)'
    r"|'''.*?(?:'{3,5}|\Z)"
    rf"|{_PART}(?:{_NEXT_PART})*+"
    r"|#[^\n]*+",
    re.DOTALL | re.MULTILINE,
)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document. Raises: ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ConfigError(f"{path} is longer than {MOST_BYTES} bytes")
        return tomllib.loads(_without_long_keys(raw.decode()))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # Among these are UnicodeDecodeError and TOMLDecodeError, which say where.
        raise ConfigError(f"{path} is not TOML in UTF-8: {error}") from None


def _without_long_keys(text: str) -> str:
    """Return the text. Raises: ValueError, if a key in it has too many parts."""
    for match in _LONG_KEY.finditer(text):
        if match["key"]:
            line = text.count("\n", 0, match.start()) + 1
            raise ValueError(f"a key has more than {MOST_KEY_PARTS} parts (at line {line})")
    return text
