"""A child process, as the worker's thread that waits for it sees it: a job goes in, an outcome comes out.

Between the worker and the child is the reaper (reaper.py), which ends last. The child has ended when the kernel says
that the reaper has. That the socket is still open says nothing: a process that the handler forked may hold it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from haulier.config import Config, environment
from haulier.domain.job import Job
from haulier.kinds import Kind, StopReason
from haulier.logs import named_cell
from haulier.processes import how
from haulier.worker.isolation.reaper import CANNOT_FORK, END
from haulier.worker.isolation.run import LENGTH

# The longest message of a child: a result of 64 KiB as escaped JSON, and room.
LONGEST_MESSAGE = 1024 * 1024
START_SECONDS = 30.0
SEND_SECONDS = 10.0
END_SECONDS = 5.0
# How long to wait for the exit code after the socket was closed: longer than the reaper takes to end.
LAST_SECONDS = 2.0
PAUSE_SECONDS = 0.002
NONSENSE = "sent an invalid message"


class ChildDied(Exception):
    """The child has ended or sent nonsense; the message says how."""


class NeverRead(ChildDied):
    """The child has ended without reading all of the last job that was sent to it, and so has not begun that job."""


class Child:
    """A process that runs jobs of one kind, one after the other. For one thread at a time.

    `messages` to it are pickled; messages from it are JSON: a hostile file may have taken over the child, and a pickle
    from it could run code in here. The child sees only the settings that its kind names.
    Raises: OSError if the process cannot be started.
    """

    def __init__(self, kind: Kind, config: Config, turns: int) -> None:
        self.kind = kind.name
        self.jobs = 0
        # The process that runs the jobs; None until it is ready.
        self.handler: int | None = None
        self.idle_since = 0.0
        self._buffer = b""
        self._socket, theirs = socket.socketpair()
        # A pipe beside the socket, for stops: the child's main thread, which reads the socket, is in the handler then.
        heard, self._control = os.pipe()
        # With -P and PYTHONPATH the child imports the same modules as this process.
        command = [
            sys.executable,
            "-P",
            "-m",
            "haulier.worker.isolation.reaper",
            str(os.getpid()),
            str(theirs.fileno()),
            str(heard),
            str(turns),
        ]
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), heard, turns),
                # One arena: each further one takes 64 MB of the limited address space, used or not.
                env={**environment(kind.reads), "PYTHONPATH": path, "MALLOC_ARENA_MAX": "1"},
                # Its own group, with all that the handler starts: it can be killed as a whole, and a terminal's
                # Ctrl-C reaches only the worker.
                process_group=0,
            )
        except BaseException:
            self._socket.close()
            os.close(self._control)
            raise
        finally:
            theirs.close()
            os.close(heard)
        # Of the database, which only this process has asked, so that the child's log has it too.
        known = replace(config.withheld((*kind.needs, *kind.reads)), cell=named_cell())
        self._send((kind.module, kind.name, known))

    @property
    def pid(self) -> int:
        """Return the process id of the reaper; its child runs the jobs."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the child, or a process that it has started, still runs."""
        return exit_code(self._process) is None

    def wait_until_ready(self, is_wanted: Callable[[], bool]) -> None:
        """Return when the child can take jobs.

        Raises: ChildDied, also if `is_wanted` turns false first; OSError if the system refuses a process.
        """
        until = time.monotonic() + START_SECONDS
        try:
            while (message := self.receive(0.1)) is None:
                if not is_wanted():
                    # The child cannot be kept: its late "ready" would be taken for the answer to a job.
                    raise ChildDied("was not ready when the job had to stop")
                if time.monotonic() > until:
                    raise ChildDied(f"was not ready within {START_SECONDS:g} s")
        except ChildDied as error:
            if exit_code(self._process) == CANNOT_FORK:
                raise OSError("forking failed") from error
            raise
        if refused := message.get("refused"):
            raise ChildDied(f"cannot run {self.kind}: {refused}")
        # Read only here, before the first job: a job could take over the child, and have another process measured.
        self.handler = int(message["pid"])

    def start(self, job: Job) -> None:
        """Have the child run the job. Raises: NeverRead."""
        self.jobs += 1
        self._send((self.jobs, job))

    def stop(self, reason: StopReason) -> None:
        """Ask the job that the child runs to stop."""
        with suppress(OSError):
            os.write(self._control, f"{self.jobs} {reason}\n".encode())

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Return the child's answer to the last job; None if none comes in this time.

        Raises: ChildDied, also for an answer to another job: no job may get the outcome of another.
        """
        message = self.receive(seconds)
        if message is not None and message.get("number") != self.jobs:
            raise ChildDied(NONSENSE)
        return message

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the child's next message; None if none comes in this time. Raises: ChildDied, NeverRead."""
        until = time.monotonic() + seconds
        while (message := self._message()) is None:
            # Check before reading: a message that was sent before the end is still read.
            is_alive = self.is_alive()
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                if is_alive:
                    return None
                more = b""
            except ConnectionResetError:
                # Linux reports this for a Unix socket whose other end was closed with data unread.
                raise NeverRead(self.how_it_ended()) from None
            except OSError:
                more = b""
            if not more:
                raise ChildDied(self.how_it_ended())
            self._buffer += more
        return message

    def kill(self) -> None:
        """Kill the child and all that it has started; the thread that waits for it gets ChildDied."""
        if self._process.returncode is None:
            # Nobody but `end` reaps it, so the id is still the reaper's.
            with suppress(OSError):
                os.kill(self._process.pid, END)

    def end(self) -> None:
        """Kill the child and all that it has started, and close what leads to it."""
        self.kill()
        self._wait(END_SECONDS)
        # Only needed if somebody has killed the reaper. No other group can have the id until the reaper is reaped.
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._socket.close()
        if self._control >= 0:
            os.close(self._control)
            self._control = -1

    def _send(self, content: object) -> None:
        packed = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
        self._socket.settimeout(SEND_SECONDS)
        try:
            self._socket.sendall(LENGTH.pack(len(packed)) + packed)
        except OSError:
            raise NeverRead(self.how_it_ended()) from None

    def _message(self) -> dict[str, Any] | None:
        if len(self._buffer) < LENGTH.size:
            return None
        [length] = LENGTH.unpack_from(self._buffer)
        if length > LONGEST_MESSAGE:
            raise ChildDied("sent a message that is too long")
        end = LENGTH.size + length
        if len(self._buffer) < end:
            return None
        packed, self._buffer = self._buffer[LENGTH.size : end], self._buffer[end:]
        try:
            message = json.loads(packed)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ChildDied(NONSENSE)
        return message

    def how_it_ended(self) -> str:
        """Return in words how the child has ended."""
        code = self._wait(LAST_SECONDS)
        return "broke off" if code is None else how(code)

    def _wait(self, seconds: float) -> int | None:
        """Return the exit code, None if the child does not end in this time."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while (code := exit_code(self._process)) is None and time.monotonic() < until:
            pause.wait(PAUSE_SECONDS)
        return code


def exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a process that has ended, None for one that runs, without reaping it.

    Until it is reaped, no other process or group can have its id, so signals to that id are safe.
    """
    # macOS has no waitid before Python 3.13. There an id is used again only after 99,999 others.
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll()
    try:
        status = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        # A handler in this process has called os.wait.
        return process.poll()
    if status is None:
        return None
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
