"""The checks of what clients ask for, for the forms of pages: see app/http/requests.py."""

from __future__ import annotations

from datetime import datetime, timedelta

from haulier.domain.job import Json
from haulier.domain.schedule import Timetable
from haulier.kinds import Kind
from haulier.queue.access.api_keys import NewKey
from haulier.queue.produce.draft import Draft

from ..http.requests import AskedSchedule
from .enqueuing import enqueuing
from .keys import read_key, read_overlap
from .openapi import payload_schema
from .schedules import read_schedule, read_timetable
from .strict_json import parse


class ApiRequests:
    """The checks of the API."""

    def parse(self, text: bytes) -> Json:
        """Return the JSON."""
        return parse(text)

    def job(self, data: Json) -> Draft:
        """Return the job."""
        return enqueuing().draft(data)

    def schedule(self, name: str, data: Json) -> AskedSchedule:
        """Return the schedule."""
        return read_schedule(name, data)

    def timetable(self, data: Json, counts_from: datetime) -> Timetable:
        """Return when it fires."""
        return read_timetable(data, counts_from)

    def key(self, data: Json) -> NewKey:
        """Return the key."""
        return read_key(data)

    def overlap(self, data: Json) -> timedelta:
        """Return for how long the old secret is good."""
        return read_overlap(data)

    def payload_schema(self, kind: Kind) -> dict[str, Json]:
        """Return the schema."""
        return payload_schema(kind)
