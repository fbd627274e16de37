"""Values whose names say that they are secret: hidden on pages until somebody asks for them.

A curtain against shoulders, not a right: the API gives them to the same key. What a kind marks as secret is another
matter, and is masked before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterable


def is_hidden(name: str, fragments: Iterable[str]) -> bool:
    """Return whether the value under this name is hidden: whether one of these is in it."""
    plain = name.lower().replace("-", "_")
    return any(each in plain for each in fragments)
