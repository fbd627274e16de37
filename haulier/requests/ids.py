"""Ids of jobs, workers and operations in requests: UUIDs in the form that this service writes."""

from __future__ import annotations

import re
from uuid import UUID

UUID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def read_uuid(text: str) -> UUID | None:
    """Return the UUID in a text, in lower or upper case; None if the text has any other form.

    UUID() also accepts braces, `urn:uuid:`, dashes anywhere and digits of any script; no path of this service has them.
    """
    return UUID(text) if re.fullmatch(UUID_PATTERN, text.lower()) else None
