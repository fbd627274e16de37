"""Load the facts that only notices need, cached for longer than the parts of pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar, cast

from flask import current_app, g

from haulier.domain.checks import Check, CheckState
from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.statements import Connection
from haulier.queue.failures import error_groups
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.health.acknowledgements import Acknowledged, forget, list_acknowledged
from haulier.queue.health.database_checks import THRESHOLDS, check_database
from haulier.queue.health.ended_workers import EndedWorker, list_ended
from haulier.queue.health.overview import Unserved, unserved_queues
from haulier.queue.numbers.recent import Ends, Minute, recent_ends, usual_shares
from haulier.queue.numbers.stats import Shown as Of
from haulier.queue.schedules.schedule_health import LOOKED_AT, MOST_OVERLAPPING, FailureRounds, Overdue, Skips
from haulier.queue.schedules.schedule_health import overdue as overdue_schedules
from haulier.queue.schedules.schedule_health import skipping as skipping_schedules
from haulier.queue.search.running import RunningJob, list_running
from haulier.queue.upkeep.partitions import days_ahead as days_ahead_of

from ...http.auth import caller
from ...http.service import service
from ..kit.permissions import permissions
from ..kit.reading import PART_SECONDS, Part, kept, part, searched
from ..kit.viewer import viewer
from ..lists.fleet import Fleet
from ..lists.queue_states import is_failing
from ..words.filters import timeout_of
from .acknowledged import over
from .notice import Notice
from .notices import HOLDERS

T = TypeVar("T")

SECONDS, STUCK_SECONDS, MENDED_SECONDS, UNSERVED_SECONDS, SKIPPING_SECONDS = 30.0, 10.0, 10.0, 10.0, 10.0
MOST_ENDED, MOST_RUNNING = 20, 200
# After an act everything is loaded again, so this is only for acts of others.
ACKNOWLEDGED_SECONDS = 10.0
# A usual share hardly changes within minutes.
USUAL_SECONDS = 300.0
# A look reads fifty schedules by name, and the next look continues from there. So many looks per load.
MOST_LOOKS = 4
# Autovacuum looks at a database each minute by default, and needs some time for a large table.
VACUUM_IS_DUE = timedelta(minutes=2)
# The checks of the database page that stop jobs, or soon will. The others wait until somebody opens that page.
CHECKS = {name: THRESHOLDS[name] for name in (*HOLDERS, "vacuum", "connections", "wraparound")}


def running() -> Sequence[RunningJob]:
    """Return the jobs that have run longest; none if they could not be loaded."""
    return _of(kept("longest running", (), lambda: part(_running), seconds=STUCK_SECONDS)) or ()


def _running(conn: Connection) -> Sequence[RunningJob]:
    return list_running(conn, queues=caller().queues, limit=MOST_RUNNING)[0]


def is_stuck(job: RunningJob) -> bool:
    """Return whether a job should have been stopped by now."""
    timeout = timeout_of(job.kind, job.timeout_seconds)
    ran = (viewer().now - job.started_at).total_seconds()
    return timeout is not None and ran > timeout + service().config.stuck_seconds


def usual_ends(of: Of) -> Ends | None:
    """Return how these jobs ended in the last seven days but for the last day; None if that could not be loaded."""
    look = partial(part, lambda conn: recent_ends(conn, of))
    found: Part[Ends] = kept("usual ends", (of.queue, of.kind), look, seconds=USUAL_SECONDS)
    return found.value


def unserved(workers: Fleet | None) -> Collection[str]:
    """Return the queues in which jobs have been due for a while and no live worker takes them."""
    look = partial(part, lambda conn: unserved_queues(conn, queues=caller().queues))
    found: Unserved | None = _of(kept("unserved", (), look, seconds=UNSERVED_SECONDS))
    if found and not found.is_whole:
        unread().append("some of very many queues were not checked for jobs that no worker takes")
    names = found.queues if found else ()
    # A worker may have started since that look.
    return [name for name in names if workers is None or not workers.serving(name)]


def usual(minutes: Mapping[str, Sequence[Minute]]) -> Mapping[str, float]:
    """Return the usual share of failed jobs, for queues in which many jobs failed recently."""
    names = sorted(name for name, lately in minutes.items() if is_failing(lately))
    if not names:
        return {}
    look = partial(part, lambda conn: usual_shares(conn, names))
    return _of(kept("usual shares", tuple(names), look, seconds=USUAL_SECONDS)) or {}


def ended() -> Sequence[EndedWorker]:
    """Return the workers that ended last."""
    return _of(kept("recently ended", (), lambda: part(_ended), seconds=SECONDS)) or ()


def _ended(conn: Connection) -> list[EndedWorker]:
    return list_ended(conn, limit=MOST_ENDED, queues=caller().queues)


def mended(groups: Sequence[ErrorGroup]) -> Collection[int]:
    """Return the groups that have no jobs left."""
    ids = sorted(group.id for group in groups)
    if not ids:
        return ()
    queues = caller().queues
    look = partial(part, lambda conn: error_groups.mended(conn, ids, queues=queues))
    return _of(kept("mended", tuple(ids), look, seconds=MENDED_SECONDS)) or ()


def days_ahead() -> float | None:
    """Return how many days ahead partitions reach; None if the viewer sees only some queues."""
    return _of(kept("days", (), lambda: part(days_ahead_of), seconds=SECONDS)) if _sees_all() else None


def overdue() -> Overdue | None:
    """Return how many schedules are not firing; None if the viewer sees only some queues."""
    return _of(kept("overdue", (), lambda: part(overdue_schedules), seconds=SECONDS)) if _sees_all() else None


def failing_schedules() -> Mapping[str, int]:
    """Return how many jobs of each schedule failed in a row; none if the viewer sees only some queues."""
    if not _sees_all():
        return {}
    rounds = cast(FailureRounds, current_app.extensions.setdefault("haulier_failing_schedules", FailureRounds()))
    look = partial(part, lambda conn: rounds.look(conn, MOST_LOOKS))
    found: Part[None] = kept("failing schedules", (), look, seconds=SECONDS)
    _of(found)
    if not found.late and not rounds.is_whole:
        most = MOST_LOOKS * LOOKED_AT
        unread().append(f"some of more than {most} schedules are not checked yet, which takes minutes")
    return {name: times for name, times in sorted(rounds.known.items()) if times}


def skipping() -> Sequence[Skips]:
    """Return the schedules that skip ticks repeatedly."""
    look = partial(part, lambda conn: skipping_schedules(conn, queues=caller().queues))
    found: tuple[list[Skips], bool] | None = _of(kept("skipping", (), look, seconds=SKIPPING_SECONDS))
    if found and not found[1]:
        unread().append(f"only the first {MOST_OVERLAPPING} schedules by name were checked for skipped ticks")
    return found[0] if found else ()


def may_see_checks() -> bool:
    """Return whether the viewer may see the checks of the database."""
    return permissions().why_not("ui.database.show") is None


def checks() -> Sequence[Check]:
    """Return the checks of the database; none if the viewer may not see them."""
    if not may_see_checks():
        return ()
    found = _of(kept("checks", (), partial(searched, _checked), seconds=SECONDS)) or ()
    if late := [each.name.replace("_", " ") for each in found if each.is_late]:
        unread().append(f"the database took too long to check {', '.join(late)}")
    return found


def vacuum_is_due(checks: Sequence[Check]) -> bool:
    """Return whether dead rows are many only since shortly: a cancelled flood leaves them until autovacuum comes.

    The server does not know since when they are many; each process remembers when it saw them first.
    """
    since = cast(dict[str, datetime], current_app.extensions.setdefault("haulier_dead_rows_since", {}))
    state = next((check.state for check in checks if check.name == "vacuum"), CheckState.UNKNOWN)
    if state is CheckState.OK:
        since.clear()
    if state in (CheckState.OK, CheckState.UNKNOWN):
        return False
    return viewer().now - since.setdefault("vacuum", viewer().now) < VACUUM_IS_DUE


def _checked(conn: Connection) -> Sequence[Check]:
    days = service().config.retention_days
    return check_database(conn, retention_days=days, thresholds=CHECKS, seconds=PART_SECONDS).checks


def acknowledged() -> Sequence[Acknowledged]:
    """Return what somebody has acknowledged; none if that could not be loaded, so all notices are shown then."""
    look = partial(part, lambda conn: list_acknowledged(conn, queues=caller().queues))
    return _of(kept("acknowledged", (), look, seconds=ACKNOWLEDGED_SECONDS)) or ()


def forget_over(notices: Sequence[Notice], known: Sequence[Acknowledged]) -> None:
    """Forget what was acknowledged and has ended, so that it is shown if it comes back; not with DASHBOARD=read."""
    if permissions().is_read_only:
        return
    if gone := [key for key in over(notices, known) if key[0] != "database" or may_see_checks()]:
        # On a standby nothing can be forgotten.
        with suppress(DatabaseUnavailable):
            part(lambda conn: forget(conn, gone, queues=caller().queues))


def unread() -> list[str]:
    """Return the reasons why some facts could not be loaded for this page."""
    return cast(list[str], g.setdefault("unread", []))


def _of(found: Part[T]) -> T | None:
    if found.late:
        unread().append(found.late)
    return found.value


def _sees_all() -> bool:
    return caller().queues is None
