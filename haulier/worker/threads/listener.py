"""The thread that turns notifications into wake-ups. It only saves time: without it polling finds every job."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from haulier.config import Config
from haulier.domain.errors import DatabaseUnavailable, HaulierError, Refusal
from haulier.postgres.connection import close, connect
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue.claims.wakeups import Knock, keeps_its_server, knocks, listen, unlisten
from haulier.worker.lanes.marks import Marks
from haulier.worker.link import Link
from haulier.worker.supply.buffer import Buffer
from haulier.worker.supply.shutdown import Shutdown

# How often a silent connection is checked.
PROBE_SECONDS = 10.0
WAIT_SECONDS = 0.5
# After a try to connect that failed.
CONNECT_PAUSE_SECONDS = 1.0
# If no notification comes through the pool, none will until an operator changes the pool; look again after this.
DEAF_PAUSE_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Listener(threading.Thread):
    """Holds one LISTEN connection, and reopens it if it breaks. It relies on notifications only after it got one."""

    config: Config
    link: Link
    buffer: Buffer
    marks: Marks
    shutdown: Shutdown

    def __post_init__(self) -> None:
        super().__init__(name="listener", daemon=True)
        self._setting = self.config.direct_setting
        self._complaint: str | None = None
        # When it last had a good connection, or had decided to go without one. Units: the monotonic clock.
        self.heard_at = time.monotonic()

    def run(self) -> None:
        """Listen until the process closes; with `WAKE_UPS=off` only wait for that."""
        config, closing = self.config, self.shutdown.closing
        if config.wake_ups == "off":
            while not closing.is_set():
                self._wait_without_listening(WAIT_SECONDS)
        while not closing.is_set():
            conn: Connection | None = None
            try:
                conn = connect(config.direct_url, application_name="haulier listener")
                went_deaf = not keeps_its_server(conn, config.direct_url) or self._listen(conn)
            except (DatabaseUnavailable, Refusal) as error:
                went_deaf = False
                self._report_unreachable(error)
                closing.wait(CONNECT_PAUSE_SECONDS)
            finally:
                self.link.sleeper.went_deaf()
                if conn is not None:
                    close(conn)
            if went_deaf:
                self._complain(
                    "no notifications arrive through %s, probably because of a pooler in transaction mode",
                    self._setting,
                )
                self._wait_without_listening(DEAF_PAUSE_SECONDS)

    def _listen(self, conn: Connection) -> bool:
        """Listen until the process closes; True, sooner, if no notification comes through this connection."""
        listen(conn)
        self.link.notify_check.ask()
        # For the jobs and cancels that came while no connection listened.
        self.link.bell.ring()
        self.link.beat_wanted.set()
        for knock in knocks(conn, wait=WAIT_SECONDS, probe=PROBE_SECONDS):
            self.heard_at = time.monotonic()
            if self.shutdown.closing.is_set():
                return False
            if knock is not None:
                self._answer(knock, conn)
                self._hear()
            elif not self.link.sleeper.is_woken and self.link.notify_check.is_missing:
                # The connection goes back to the pool; without this, its next user would get our notifications.
                unlisten(conn)
                return True
        return False

    def _hear(self) -> None:
        """Note that notifications come through."""
        self.link.notify_check.heard()
        if self.link.sleeper.is_woken:
            return
        self.link.sleeper.hears()
        # An INSERT before this moment may have found no sleeper to wake.
        self.link.bell.ring()
        if self._complaint is not None:
            log.warning("notifications arrive through %s again", self._setting)
            self._complaint = None

    def _answer(self, knock: Knock, conn: Connection) -> None:
        is_ours = knock.worker_id in (None, self.link.lease.registered_as)
        if not knock.is_for_work:
            if is_ours:
                self.link.beat_wanted.set()
            return
        if knock.queue is not None:
            # Only a hint, because any client may send it: the heartbeat and the scan read what is paused.
            self.link.beat_wanted.set()
            self.marks.want_scan()
        if is_ours:
            # First of all, because a job waits. Also if no thread is free now: one may be free in a moment.
            self.link.bell.ring()
        self.link.sleeper.knocked()
        if is_ours and knock.worker_id is not None and self._is_busy():
            with translated():
                self.link.sleeper.pass_on(conn)

    def _is_busy(self) -> bool:
        """Return whether no thread could take a job now."""
        return self.buffer.is_busy(self.config.worker_threads) or self.shutdown.stopping.is_set()

    def _report_unreachable(self, error: HaulierError) -> None:
        if isinstance(error, Refusal) or not self.config.database_direct_url:
            self.link.outage.failed(error)
            return
        # Jobs are claimed through DATABASE_URL, which may be up; if it is not, other threads report that.
        reason = " ".join(str(error.__cause__ or error).split())
        self._complain("%s cannot be reached (%s)", self._setting, reason)

    def _complain(self, complaint: str, *details: str) -> None:
        """Log once what is wrong, and what it means."""
        if complaint != self._complaint:
            poll = self.config.poll_seconds
            log.warning(f"{complaint}: idle workers poll every %g s", *details, poll)
            self._complaint = complaint

    def _wait_without_listening(self, seconds: float) -> None:
        """Wait this long, or until the process closes, and note that this thread is alive."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.shutdown.closing.wait(min(left, WAIT_SECONDS)):
            self.heard_at = time.monotonic()
