"""Fill in what differs in each response: how long ago things were, and the token that a form is sent with once.

Templates leave these empty, so that what they render stays the same while only time passes. That is what polls compare.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from ..words.filters import ago

# Values cannot look like these, because templates escape them.
_AGE = re.compile(r'<time datetime="([^"]+)" title="[^"]+" data-ago(=" ago")?>(?=</time>)')
_ONCE = re.compile(r'(?<= name="once" value=")(?=")')


def fill(text: str, now: datetime) -> str:
    """Return the HTML with ages and tokens filled in."""

    def age(found: re.Match[str]) -> str:
        words = ago(datetime.fromisoformat(found[1]), now)
        return found[0] + (words.replace(" ago", "") if found[2] else words)

    return _ONCE.sub(lambda _: new_once(), _AGE.sub(age, text))


def new_once() -> str:
    """Return a token that no other form is sent with."""
    return secrets.token_hex(16)
