"""What a scraper may ask for: prometheus_client takes a header Accept as it comes, and raises at what is no version."""

from __future__ import annotations

import re

_VERSION = re.compile(r"version=([^;,]*)", re.IGNORECASE)


def accepted(header: str | None) -> str:
    """Return the header Accept if each version in it is one, and else nothing, which stands for the plain form."""
    known = [re.fullmatch(r"\s*[0-9]{1,4}(\.[0-9]{1,4}){0,2}\s*", each) for each in _VERSION.findall(header or "")]
    return (header or "") if all(known) else ""
