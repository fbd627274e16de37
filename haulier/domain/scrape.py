"""What both ports for scrapers do: check the Accept header, and give the series of a cell its label.

prometheus_client does not check the header, and raises if a version is not a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_VERSION = re.compile(r"version=([^;,]*)", re.IGNORECASE)


def accepted(header: str | None) -> str:
    """Return the Accept header if each version in it is a number, and else "", which selects the plain text format.

    `versions` from 1 on read 1.0.0, so that there are few formats, however many versions clients make up.
    """
    given = header or ""
    if not all(re.fullmatch(r"\s*[0-9]{1,4}(\.[0-9]{1,4}){0,2}\s*", each) for each in _VERSION.findall(given)):
        return ""
    return _VERSION.sub(lambda found: "version=1.0.0" if int(found[1].split(".")[0]) else found[0], given)


def labelled(families: Iterable[Any], cell: int) -> list[Any]:
    """Return the metrics of prometheus_client, just collected, with the label `cell` on each series."""
    whole = list(families)
    for family in whole:
        family.samples = [each._replace(labels={**each.labels, "cell": str(cell)}) for each in family.samples]
    return whole
