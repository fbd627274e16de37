"""The checks of what clients ask for: the API makes them, and the pages' forms go through the very same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, cast

from flask import current_app

from haulier.domain.job import Json
from haulier.domain.schedule import Rule, Timetable
from haulier.kinds import Kind
from haulier.queue.access.api_keys import NewKey
from haulier.queue.produce.draft import Draft
from haulier.queue.produce.schedules import Pause


@dataclass(frozen=True, slots=True)
class AskedSchedule:
    """A schedule that is asked for. Shape: draft is its job, as one that is enqueued; pause None: as it is."""

    rule: Rule
    draft: Draft
    pause: Pause | None


class Requests(Protocol):
    """The checks of one application. Each takes what a client sends as JSON. Raises: Invalid; Forbidden; TooLarge."""

    def parse(self, text: bytes) -> Json:
        """Return the JSON of a body. Raises: Malformed."""

    def job(self, data: Json) -> Draft:
        """Return the job of a request as of POST /jobs."""

    def schedule(self, name: str, data: Json) -> AskedSchedule:
        """Return the schedule of a request as of PUT /schedules/{name}."""

    def timetable(self, data: Json, counts_from: datetime) -> Timetable:
        """Return when the schedule of a request as of POST /schedules/preview fires."""

    def key(self, data: Json) -> NewKey:
        """Return the API key of a request as of POST /keys."""

    def overlap(self, data: Json) -> timedelta:
        """Return for how long the old secret is good after a request as of POST /keys/{key_id}/rotate."""

    def payload_schema(self, kind: Kind) -> dict[str, Json]:
        """Return the JSON schema of a kind's payload."""


NAME = "haulier_requests"


def requests() -> Requests:
    """Return the checks of the current application."""
    return cast(Requests, current_app.extensions[NAME])
