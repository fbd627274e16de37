"""The ids of jobs, workers and operations in a request: UUIDs as this service writes them."""

from __future__ import annotations

import re
from uuid import UUID

UUID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def read_uuid(text: str) -> UUID | None:
    """Return the UUID that the text is, in letters of either case; None for any other text.

    Shape: not what UUID() takes besides, which is no path of this service: braces, `urn:uuid:`, dashes anywhere, digits
           of any script.
    """
    return UUID(text) if re.fullmatch(UUID_PATTERN, text.lower()) else None
