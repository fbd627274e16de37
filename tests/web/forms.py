"""Each page and each act of the dashboard: who may, and a form of it that changes something."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser
from tests.web.world import World

# With this CELLS_FILE there is every page.
CELLS = str(Path(__file__).with_name("cells.toml"))
JOB = {"kind": "send_email", "as": "json", "payload": "{payload}"}
TIMED = {"cron": "30 4 * * *", "time_zone": "UTC", "overlap": "allow", "missed": "last", **JOB}
BULK = {"action": "retry", "queue": "{queue}", "as_of": "{as_of}"}


@dataclass(frozen=True)
class Act:
    """What an act needs, and a form that changes something.

    is_whole: a key of one queue is refused, whatever it is about. changes: False if the database stays as it is.
    is_own: it is refused as a conflict but for one's own key.
    """

    needs: tuple[Scope, ...]
    path: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = False
    changes: bool = True
    is_own: bool = False


ENQUEUE, READ, OPERATE, ADMIN = (Scope.ENQUEUE,), (Scope.READ,), (Scope.OPERATE,), (Scope.ADMIN,)
# In an order in which each finds what it acts on. test_sessions.py tests the sign-in.
ACTS: dict[str, Act] = {
    "/ui/jobs/new": Act(ENQUEUE, "/ui/jobs/new", {**JOB, "queue": "{queue}"}),
    "/ui/jobs/<uuid:job_id>/cancel": Act(OPERATE, "/ui/jobs/{queued}/cancel"),
    "/ui/jobs/<uuid:job_id>/retry": Act(OPERATE, "/ui/jobs/{failed}/retry"),
    "/ui/jobs/<uuid:job_id>/run-now": Act(OPERATE, "/ui/jobs/{retrying}/run-now"),
    "/ui/jobs/<uuid:job_id>/change": Act(OPERATE, "/ui/jobs/{queued2}/change", {"priority": "42"}),
    "/ui/jobs/<uuid:job_id>/edit": Act(OPERATE, "/ui/jobs/{cancelled2}/edit", {"priority": "42"}),
    "/ui/jobs/<uuid:job_id>/copy": Act((*OPERATE, *ENQUEUE), "/ui/jobs/{succeeded}/copy"),
    "/ui/jobs/<uuid:job_id>/delete": Act(ADMIN, "/ui/jobs/{succeeded}/delete"),
    "/ui/jobs/ticked/retry": Act(OPERATE, "/ui/jobs/ticked/retry", {"id": ["{failed2}"]}),
    "/ui/jobs/ticked/run-now": Act(OPERATE, "/ui/jobs/ticked/run-now", {"id": ["{retrying2}"]}),
    "/ui/jobs/ticked/change": Act(
        OPERATE, "/ui/jobs/ticked/change", {"id": ["{queued2}"], "sure": "1", "to_priority": "7"}
    ),
    "/ui/jobs/ticked/cancel": Act(OPERATE, "/ui/jobs/ticked/cancel", {"id": ["{queued2}"]}),
    "/ui/jobs/ticked/delete": Act(ADMIN, "/ui/jobs/ticked/delete", {"id": ["{cancelled}"], "sure": "1"}),
    "/ui/running/<uuid:job_id>/stop": Act(OPERATE, "/ui/running/{running}/stop"),
    "/ui/workers/<uuid:worker_id>/quiet": Act(OPERATE, "/ui/workers/{worker}/quiet", is_whole=True),
    "/ui/workers/<uuid:worker_id>/wake": Act(OPERATE, "/ui/workers/{worker}/wake", is_whole=True),
    "/ui/failures/<error_id>/unmute": Act(OPERATE, "/ui/failures/{error}/unmute", is_whole=True),
    "/ui/failures/<error_id>/mute": Act(OPERATE, "/ui/failures/{error}/mute", {"for": "24h"}, is_whole=True),
    "/ui/notices/<mark>/acknowledge": Act(OPERATE, "/ui/notices/{notice}/acknowledge"),
    "/ui/notices/<mark>/show": Act(OPERATE, "/ui/notices/{notice}/show"),
    "/ui/queues/<name>/pause": Act(OPERATE, "/ui/queues/{queue}/pause", {"for": "1h"}),
    "/ui/queues/<name>/resume": Act(OPERATE, "/ui/queues/{queue}/resume"),
    "/ui/schedules/new": Act(ADMIN, "/ui/schedules/new", {**TIMED, "name": "new-{queue}"}, is_whole=True),
    "/ui/schedules/<name>/edit": Act(
        ADMIN, "/ui/schedules/{schedule}/edit", {**TIMED, "queue": "{queue}", "seen": "{seen}"}, is_whole=True
    ),
    "/ui/schedules/<name>/run": Act(OPERATE, "/ui/schedules/{schedule}/run"),
    "/ui/schedules/<name>/pause": Act(OPERATE, "/ui/schedules/{schedule}/pause", {"for": "1h"}),
    "/ui/schedules/<name>/resume": Act(OPERATE, "/ui/schedules/{schedule}/resume"),
    "/ui/schedule-pauses/pause": Act(OPERATE, "/ui/schedule-pauses/pause", {"for": "1h", "name": ["{schedule}"]}),
    "/ui/schedule-pauses/resume": Act(OPERATE, "/ui/schedule-pauses/resume", {"name": ["{schedule}"]}),
    "/ui/schedules/<name>/delete": Act(
        ADMIN, "/ui/schedules/{schedule}/delete", {"confirm": "{schedule}"}, is_whole=True
    ),
    "/ui/operations/new": Act(OPERATE, "/ui/operations/new", BULK),
    "/ui/operations": Act(OPERATE, "/ui/operations", BULK),
    "/ui/operations/<uuid:operation_id>/cancel": Act(OPERATE, "/ui/operations/{waits}/cancel"),
    "/ui/operations/<uuid:operation_id>/resume": Act(OPERATE, "/ui/operations/{ended}/resume"),
    "/ui/operations/<uuid:operation_id>/advance": Act(OPERATE, "/ui/operations/{due}/advance"),
    "/ui/keys/new": Act(ADMIN, "/ui/keys/new", {"name": "made", "scopes": "read"}, is_whole=True),
    "/ui/keys/<key_id>/rotate": Act(ADMIN, "/ui/keys/{key}/rotate", {"hours": "0", "seen": "{mark}"}, is_whole=True),
    "/ui/keys/<key_id>/revoke": Act(ADMIN, "/ui/keys/{key}/revoke", {"confirm": "key-{queue}"}, is_whole=True),
    "/ui/keys/<key_id>/sign-out": Act(ADMIN, "/ui/keys/{other}/sign-out", is_whole=True, changes=False, is_own=True),
    "/ui/settings/theme": Act((), "/ui/settings/theme", {"theme": "dark"}, changes=False),
    "/ui/settings": Act((), "/ui/settings", {"theme": "dark", "zone": "UTC"}, changes=False),
    "/ui/sign-out": Act((), "/ui/sign-out"),
}
NO_ACTS = {"/ui/sign-in", "/ui/<path:rest>"}


@dataclass(frozen=True)
class Seen:
    """What a page needs. `acts`: it is only for acting."""

    needs: tuple[Scope, ...]
    path: str
    is_whole: bool = False
    acts: bool = False


PAGES = {
    "/ui": Seen(READ, "/ui"),
    "/ui/jobs": Seen(READ, "/ui/jobs"),
    "/ui/jobs/<uuid:job_id>": Seen(READ, "/ui/jobs/{queued}"),
    "/ui/jobs/<uuid:job_id>/edit": Seen(OPERATE, "/ui/jobs/{cancelled2}/edit", acts=True),
    "/ui/jobs/new": Seen(ENQUEUE, "/ui/jobs/new", acts=True),
    "/ui/running": Seen(READ, "/ui/running"),
    "/ui/search": Seen(READ, "/ui/search?q={queue}x"),
    "/ui/failures": Seen(READ, "/ui/failures"),
    "/ui/failures/<error_id>": Seen(READ, "/ui/failures/{error}"),
    "/ui/queues": Seen(READ, "/ui/queues"),
    "/ui/queues/<name>": Seen(READ, "/ui/queues/{queue}"),
    "/ui/kinds": Seen(READ, "/ui/kinds"),
    "/ui/kinds/<name>": Seen(READ, "/ui/kinds/send_email"),
    "/ui/schedules": Seen(READ, "/ui/schedules"),
    "/ui/schedules/<name>": Seen(READ, "/ui/schedules/{schedule}"),
    "/ui/schedules/new": Seen(ADMIN, "/ui/schedules/new", is_whole=True, acts=True),
    "/ui/schedules/<name>/edit": Seen(ADMIN, "/ui/schedules/{schedule}/edit", is_whole=True, acts=True),
    "/ui/schedule-pauses": Seen(OPERATE, "/ui/schedule-pauses", acts=True),
    "/ui/workers": Seen(READ, "/ui/workers"),
    "/ui/workers/<uuid:worker_id>": Seen(READ, "/ui/workers/{worker}"),
    "/ui/operations": Seen(OPERATE, "/ui/operations"),
    "/ui/operations/new": Seen(OPERATE, "/ui/operations/new", acts=True),
    "/ui/operations/<uuid:operation_id>": Seen(OPERATE, "/ui/operations/{waits}"),
    "/ui/database": Seen(OPERATE, "/ui/database", is_whole=True),
    "/ui/cells": Seen(OPERATE, "/ui/cells", is_whole=True),
    "/ui/audit": Seen(OPERATE, "/ui/audit", is_whole=True),
    "/ui/audit.csv": Seen(OPERATE, "/ui/audit.csv", is_whole=True),
    "/ui/keys": Seen(ADMIN, "/ui/keys", is_whole=True),
    "/ui/keys/new": Seen(ADMIN, "/ui/keys/new", is_whole=True, acts=True),
    "/ui/keys/<key_id>": Seen(ADMIN, "/ui/keys/{key}", is_whole=True),
    "/ui/settings": Seen((), "/ui/settings"),
    "/ui/help": Seen((), "/ui/help"),
}
NO_PAGES = {"/ui/sign-in", "/ui/static/<path:name>", "/ui/", "/ui/<path:rest>"}


def do(browser: Browser, csrf: str, act: Act, world: World) -> int:
    fields = {
        name: [world.filled(each) for each in given] if isinstance(given, list) else world.filled(given)
        for name, given in act.fields.items()
    }
    return browser.post(world.filled(act.path), csrf=csrf, **fields).status_code
