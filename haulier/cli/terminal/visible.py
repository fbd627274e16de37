"""Text from elsewhere, for a terminal: what would steer it is written out."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 and C1, which terminals obey; what turns the direction of text or cannot be seen; halves of pairs, which cannot be
# written. Tab and newline too: a table has a line for each row.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """Return the text with each character that steers a terminal, or hides, written as an escape."""
    return UNSEEN.sub(lambda found: SHORT.get(found[0]) or _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_line(value: Any) -> str:
    """Return the value as JSON on one line, which a terminal shows as it is, and which a program reads as it was."""
    text = json.dumps(value, ensure_ascii=False)
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
