"""The paths of this service as clients see them: below the path at which another application has mounted it."""

from __future__ import annotations

from .service import current_request


def own_path(path: str) -> str:
    """Return this path of ours for a link or a header; it holds behind any proxy."""
    return current_request().root_path + path
