"""A kind of a team's own that does not mind what it says."""

from __future__ import annotations

from haulier.domain.job import Json
from haulier.kinds import JobContext, PayloadSchema, kind


class Leak(PayloadSchema):
    """Nothing is asked for."""


@kind("leak", schema=Leak, timeout=5)
def leak(context: JobContext, payload: dict[str, Json]) -> Json:
    """Raise an error that quotes the settings, as drivers and HTTP libraries do."""
    raise RuntimeError(f"cannot reach {context.settings.database_url} nor {context.settings.smtp_url}")
