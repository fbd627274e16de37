"""The checks of every call that enqueues: the request's schema, the caller's rights, the bound on queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from haulier.domain.job import Json
from haulier.queue import produce
from haulier.queue.produce.draft import Draft

from ..http.door import caller
from ..http.queue_names import QueueNames
from .reading import check_payload_size
from .schemas.job import CreateJobRequest


@dataclass(frozen=True, slots=True)
class Enqueuing:
    """The checks of one application."""

    create_job: CreateJobRequest
    queue_names: QueueNames

    def draft(self, data: Json, idempotency_key: str | None = None) -> Draft:
        """Return the requested job, checked and its payload written as JSON. Raises: Invalid; Forbidden; TooLarge."""
        asked, by = self.create_job.load(data), caller()
        by.check_queue(asked.queue)
        draft = produce.draft(asked, idempotency_key=idempotency_key, scope=by.id)
        check_payload_size(draft.payload)
        return draft


def enqueuing() -> Enqueuing:
    """Return the checks of the current application."""
    return cast(Enqueuing, current_app.extensions["haulier_enqueuing"])
