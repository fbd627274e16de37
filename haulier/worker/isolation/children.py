"""The child processes in which this worker runs jobs of isolated kinds: started when needed, kept between jobs."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from haulier.config import Config
from haulier.domain.job import Job
from haulier.domain.outcome import MAX_RESULT_BYTES, Outcome, Verb
from haulier.domain.vitals import FULL
from haulier.kinds import JobContext, Kind, StopReason
from haulier.queue.rows import ClaimedJob
from haulier.worker.isolation.child import NONSENSE, Child, ChildDied, NeverRead
from haulier.worker.isolation.ends import Ends
from haulier.worker.steps.execute import delay_of, failed_attempt

# How often to check whether the job is to stop.
LOOK_SECONDS = 0.1
# Between asking a handler to stop and killing it, at most.
GRACE_SECONDS = 2.0
# How long a thread waits until it may use a child. After that it gives the job back, for BUSY_SECONDS, and continues to
# other work.
PLACE_SECONDS = 0.25
BUSY_SECONDS = 2.0
# A child that has run nothing for this long is ended, for its memory.
IDLE_SECONDS = 60.0

log = logging.getLogger(__name__)


class Children:
    """Runs jobs in child processes, at most ISOLATED_PROCESSES of them at a time; safe for all threads."""

    def __init__(self, config: Config, count_end: Callable[[str], None] = lambda _: None) -> None:
        self._config = config
        # At shutdown, jobs get a quarter of SHUTDOWN_SECONDS to stop, of which this is half. It must also end before
        # STUCK_SECONDS does: after that the thread counts as stuck.
        self._grace = min(GRACE_SECONDS, config.stuck_seconds / 2, config.shutdown_seconds / 8)
        self._changed = threading.Condition()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._taken = 0
        self._closed = False
        self.ends = Ends(count_end)
        # Made for the first child: the file that a child locks while it has a turn (haulier/kinds/sdk/turns.py).
        self._turns: int | None = None

    def take_place(self) -> bool:
        """Reserve one of ISOLATED_PROCESSES for a job, until `run` ends; False if none is free within the wait."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: self._taken < self._config.isolated_processes, PLACE_SECONDS)
            self._taken += is_free
        return is_free

    def run(self, kind: Kind, context: JobContext) -> Outcome:
        """Run the job in a child, after `take_place`, and return how it ended."""
        try:
            return self._run(kind, context)
        except OSError as error:
            log.warning("cannot start a process for %s: %s", kind.name, error)
            return Outcome.release(BUSY_SECONDS)
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify()

    def tidy(self) -> None:
        """End the children that have been idle for long or have died."""
        if not self._idle:
            return
        since = time.monotonic() - IDLE_SECONDS
        with self._changed:
            dead = [child for child in self._idle if not child.is_alive()]
            old = dead + [child for child in self._idle if child.idle_since < since and child not in dead]
            self._idle = [child for child in self._idle if child not in old]
        for child in dead:
            self.ends.add(child.kind, child.how_it_ended())
        for child in old:
            child.end()

    def close(self) -> None:
        """End all children, whatever they run, and start no more."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.kill()
        for child in idle:
            child.end()

    def handlers(self) -> list[tuple[int, str]]:
        """Return the process id and the kind of each child that runs jobs."""
        with self._changed:
            return [(child.handler, child.kind) for child in (*self._busy, *self._idle) if child.handler is not None]

    def pids(self) -> list[int]:
        """Return the process ids of all children."""
        with self._changed:
            return [child.pid for child in (*self._idle, *self._busy)]

    def _run(self, kind: Kind, context: JobContext) -> Outcome:
        job = context.job.read() if isinstance(context.job, ClaimedJob) else context.job
        try:
            outcome = self._ask(kind, context, job, may_be_used=True)
            if outcome is None:
                # The child ran out of memory after it had run other jobs, or it died before it read this one. Only a
                # fresh child shows whether this job is the cause.
                outcome = self._ask(kind, context, job, may_be_used=False)
            if outcome is None:
                raise ChildDied(NONSENSE)
            return outcome
        except ChildDied as error:
            if context.stop_reason in (None, StopReason.TIMEOUT):
                self.ends.add(kind.name, str(error))
                return failed_attempt(kind, job, f"the process that ran this job {error}")
            return Outcome.release()

    def _ask(self, kind: Kind, context: JobContext, job: Job, *, may_be_used: bool) -> Outcome | None:
        """Return the outcome of the job in a child; None if it has to run in another. Raises: ChildDied, OSError."""
        child = self._child(kind, may_be_used=may_be_used)
        is_good = False
        try:
            if not child.jobs:
                child.wait_until_ready(lambda: not context.cancelled)
            child.start(job)
            message = self._wait(child, context)
            if message.get("full") is True:
                self.ends.add(kind.name, FULL)
            outcome = None if message.get("again") else _outcome(message)
            # Set only here: a child that sends nonsense is not kept.
            is_good = outcome is not None and not message.get("leaves")
        except NeverRead as error:
            # The child was killed while idle, by an operator or for memory: not because of this job.
            if not may_be_used:
                raise
            self.ends.add(kind.name, str(error))
            outcome = None
        finally:
            self._put_back(child, is_good=is_good)
        return outcome

    def _wait(self, child: Child, context: JobContext) -> dict[str, Any]:
        asked_at: float | None = None
        while (message := child.answer(LOOK_SECONDS)) is None or "progress" in message:
            if message is not None:
                _pass_on(message["progress"], context)
            if (reason := context.stop_reason) is None:
                continue
            if asked_at is None:
                asked_at = time.monotonic()
                child.stop(reason)
            if time.monotonic() - asked_at >= self._grace:
                raise ChildDied("was killed because it did not stop")
        return message

    def _child(self, kind: Kind, *, may_be_used: bool) -> Child:
        """Return a child for this kind, marked busy. Raises: OSError, ChildDied."""
        spare: Child | None = None
        with self._changed:
            if may_be_used and (child := self._idle_of(kind)) is not None:
                self._busy.add(child)
                return child
            if self._idle and self._taken + len(self._idle) > self._config.isolated_processes:
                spare = self._idle.pop(0)
        if spare is not None:
            spare.end()
        child = self._start(kind)
        with self._changed:
            self._busy.add(child)
            if self._closed:
                child.kill()
        return child

    def _start(self, kind: Kind) -> Child:
        with self._changed:
            if self._closed:
                raise OSError("the worker stops")
            if self._turns is None:
                self._turns, path = tempfile.mkstemp(prefix="haulier-turns-")
                os.unlink(path)
        return Child(kind, self._config, self._turns)

    def _idle_of(self, kind: Kind) -> Child | None:
        for child in reversed(self._idle):
            if child.kind == kind.name and child.is_alive():
                self._idle.remove(child)
                return child
        return None

    def _put_back(self, child: Child, *, is_good: bool) -> None:
        with self._changed:
            self._busy.discard(child)
            is_kept = is_good and not self._closed
            if is_kept:
                child.idle_since = time.monotonic()
                self._idle.append(child)
        if not is_kept:
            child.end()


def _pass_on(said: Any, context: JobContext) -> None:
    """Say what the child says of its progress. Raises: ChildDied if that makes no sense."""
    try:
        done, total, note = said
        context.progress(done, total, note)
    except (TypeError, ValueError) as error:
        raise ChildDied(NONSENSE) from error


def _outcome(message: dict[str, Any]) -> Outcome:
    """Return the outcome in a child's message, checked again: the child may be taken over. Raises: ChildDied."""
    try:
        verb, delay, backoff = Verb(message["verb"]), message["delay"], message["backoff"]
        if verb is Verb.COMPLETE:
            result = str(message["result"])
            if len(result.encode()) > MAX_RESULT_BYTES:
                raise ValueError(len(result))
            return Outcome(Verb.COMPLETE, result=result)
        if verb is Verb.FAIL and delay is None:
            return Outcome.fail_for_good(str(message["error"]))
        if verb is Verb.FAIL:
            return Outcome.fail(
                str(message["error"]), delay_of(float(delay)), None if backoff is None else delay_of(float(backoff))
            )
        if verb is Verb.RELEASE:
            why = message["error"]
            return Outcome.release(delay_of(float(delay)), why=None if why is None else str(why))
        if verb is Verb.SNOOZE:
            return Outcome.snooze(delay_of(float(delay)))
        raise ValueError(verb)
    except (KeyError, TypeError, ValueError):
        raise ChildDied(NONSENSE) from None
