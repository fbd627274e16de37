"""The Accept header of a scraper: prometheus_client does not check it, and raises where a version is no number."""

from __future__ import annotations

import re

_VERSION = re.compile(r"version=([^;,]*)", re.IGNORECASE)


def accepted(header: str | None) -> str:
    """Return the Accept header if each version in it is a number, and else "", which selects the plain text format."""
    known = [re.fullmatch(r"\s*[0-9]{1,4}(\.[0-9]{1,4}){0,2}\s*", each) for each in _VERSION.findall(header or "")]
    return (header or "") if all(known) else ""
