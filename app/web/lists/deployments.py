"""The releases that charts mark."""

from __future__ import annotations

from collections.abc import Sequence

from haulier.domain.text import cut
from haulier.queue.health.deployments import Deployment, list_deployments

from ..kit.reading import Part, kept, part
from ..words.charts import Mark

SECONDS, MOST_SHOWN = 30.0, 40


def marks() -> Sequence[Mark]:
    """Return when which release came; none if that could not be loaded."""
    found: Part[Sequence[Deployment]] = kept("deployments", (), lambda: part(list_deployments), seconds=SECONDS)
    return [Mark(each.at, f"{each.process} {cut(each.release, MOST_SHOWN)}") for each in found.value or ()]
