"""A child process of this worker, as the thread that waits for it sees it: a job in, an outcome out."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from haulier.config import Config, environment
from haulier.domain.job import Job
from haulier.kinds import Kind, StopReason

# What a child may say at once: a result of 64 KiB as it stands in JSON, and room.
LONGEST_MESSAGE = 1024 * 1024
START_SECONDS = 30.0
SEND_SECONDS = 10.0
END_SECONDS = 5.0
# Between the end of its socket and its own.
LAST_SECONDS = 1.0
LENGTH = struct.Struct(">I")
NONSENSE = "said something that makes no sense"


class ChildDied(Exception):
    """The child has ended, or does not speak as it should; the message says how."""


class NeverRead(ChildDied):
    """The child has ended, and has not read all that was sent to it last: it has not begun that job."""


class Child:
    """A process that runs jobs of one kind, one after the other. For one thread at a time.

    Shape: what goes to it is pickled, what comes from it is JSON: a file may have taken it over, and then it must not
           make objects in here. It sees only the settings that its kind names.
    Raises: OSError where it cannot be started.
    """

    def __init__(self, kind: Kind, config: Config, turns: int) -> None:
        self.kind = kind.name
        self.jobs = 0
        self.idle_since = 0.0
        self._buffer = b""
        self._socket, theirs = socket.socketpair()
        # Beside the socket: a stop must be heard while the other thread of the child runs the handler.
        heard, self._control = os.pipe()
        # Its standard output is ours; -P and the path: it imports what this process would.
        command = [
            sys.executable,
            "-P",
            "-m",
            "haulier.worker.isolation.run",
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
                # One arena: each further one takes 64 MB of the address space, used or not.
                env={**environment(kind.reads), "PYTHONPATH": path, "MALLOC_ARENA_MAX": "1"},
                # Whatever the handler starts is killed with it; and a terminal's Ctrl-C is this process's to obey.
                process_group=0,
            )
        except BaseException:
            self._socket.close()
            os.close(self._control)
            raise
        finally:
            theirs.close()
            os.close(heard)
        self._send((kind.module, kind.name, config.withheld((*kind.needs, *kind.reads))))

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def wait_until_ready(self, is_wanted: Callable[[], bool]) -> None:
        """Return when it can take jobs. Raises: ChildDied, also where it is not wanted any more before that."""
        until = time.monotonic() + START_SECONDS
        while (message := self.receive(0.1)) is None:
            if not is_wanted():
                # What it then says must not be taken for the answer to a job.
                raise ChildDied("was not ready when the job was to stop")
            if time.monotonic() > until:
                raise ChildDied(f"was not ready within {START_SECONDS:g} s")
        if refused := message.get("refused"):
            raise ChildDied(f"cannot run {self.kind}: {refused}")

    def start(self, job: Job) -> None:
        """Have it run the job. Raises: NeverRead."""
        self.jobs += 1
        self._send((self.jobs, job))

    def stop(self, reason: StopReason) -> None:
        """Ask the job that it runs to stop."""
        with suppress(OSError):
            os.write(self._control, f"{self.jobs} {reason}\n".encode())

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Return what it says of the job that it was given last, or None where that is nothing in this time.

        Raises: ChildDied, also where it speaks of another: no job may get the outcome of another.
        """
        message = self.receive(seconds)
        if message is not None and message.get("number") != self.jobs:
            raise ChildDied(NONSENSE)
        return message

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return what it says next, or None where that is nothing in this time. Raises: ChildDied, NeverRead."""
        until = time.monotonic() + seconds
        while (message := self._message()) is None:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                return None
            except ConnectionResetError:
                # Linux says so of a local socket that was closed with something unread in it.
                raise NeverRead(self._how_it_ended()) from None
            except OSError:
                more = b""
            if not more:
                raise ChildDied(self._how_it_ended())
            self._buffer += more
        return message

    def kill(self) -> None:
        """Kill it and whatever it has started; whoever waits for it learns that it died."""
        if self._process.poll() is None:
            # Not waited for yet, so that the number is still its own.
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, and forget it."""
        self.kill()
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
            raise NeverRead(self._how_it_ended()) from None

    def _message(self) -> dict[str, Any] | None:
        if len(self._buffer) < LENGTH.size:
            return None
        [length] = LENGTH.unpack_from(self._buffer)
        if length > LONGEST_MESSAGE:
            raise ChildDied("said something too long")
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

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return "broke off"
        if code >= 0:
            return f"left with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"
