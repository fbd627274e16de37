"""A child process, as the worker's thread that waits for it sees it: a job goes in, an outcome comes out."""

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
from haulier.processes import how

# The longest message of a child: a result of 64 KiB as escaped JSON, and room.
LONGEST_MESSAGE = 1024 * 1024
START_SECONDS = 30.0
SEND_SECONDS = 10.0
END_SECONDS = 5.0
# How long to wait for the child's exit code after its end of the socket was closed.
LAST_SECONDS = 1.0
LENGTH = struct.Struct(">I")
NONSENSE = "said something that makes no sense"


class ChildDied(Exception):
    """The child has ended or sent nonsense; the message says how."""


class NeverRead(ChildDied):
    """The child has ended without reading all of the last job that was sent to it, and so has not begun that job."""


class Child:
    """A process that runs jobs of one kind, one after the other. For one thread at a time.

    Shape: messages to it are pickled; messages from it are JSON: a hostile file may have taken over the child, and a
           pickle from it could run code in here. The child sees only the settings that its kind names.
    Raises: OSError where the process cannot be started.
    """

    def __init__(self, kind: Kind, config: Config, turns: int) -> None:
        self.kind = kind.name
        self.jobs = 0
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
                # One arena: each further one takes 64 MB of the limited address space, used or not.
                env={**environment(kind.reads), "PYTHONPATH": path, "MALLOC_ARENA_MAX": "1"},
                # A group of its own: killing the group also kills what the handler has started, and a terminal's
                # Ctrl-C reaches this process alone.
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
        """Return the child's process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether the child has not ended."""
        return self._process.poll() is None

    def wait_until_ready(self, is_wanted: Callable[[], bool]) -> None:
        """Return when the child can take jobs. Raises: ChildDied, also where `is_wanted` turns false before that."""
        until = time.monotonic() + START_SECONDS
        while (message := self.receive(0.1)) is None:
            if not is_wanted():
                # The child cannot be kept: its late "ready" would be taken for the answer to a job.
                raise ChildDied("was not ready when the job was to stop")
            if time.monotonic() > until:
                raise ChildDied(f"was not ready within {START_SECONDS:g} s")
        if refused := message.get("refused"):
            raise ChildDied(f"cannot run {self.kind}: {refused}")

    def start(self, job: Job) -> None:
        """Have the child run the job. Raises: NeverRead."""
        self.jobs += 1
        self._send((self.jobs, job))

    def stop(self, reason: StopReason) -> None:
        """Ask the job that the child runs to stop."""
        with suppress(OSError):
            os.write(self._control, f"{self.jobs} {reason}\n".encode())

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Return the child's answer to the last job; None where none comes in this time.

        Raises: ChildDied, also for an answer to another job: no job may get the outcome of another.
        """
        message = self.receive(seconds)
        if message is not None and message.get("number") != self.jobs:
            raise ChildDied(NONSENSE)
        return message

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the child's next message; None where none comes in this time. Raises: ChildDied, NeverRead."""
        until = time.monotonic() + seconds
        while (message := self._message()) is None:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                return None
            except ConnectionResetError:
                # Linux reports this for a Unix socket whose other end was closed with data unread.
                raise NeverRead(self._how_it_ended()) from None
            except OSError:
                more = b""
            if not more:
                raise ChildDied(self._how_it_ended())
            self._buffer += more
        return message

    def kill(self) -> None:
        """Kill the child and all that it has started; the thread that waits for it gets ChildDied."""
        if self._process.poll() is None:
            # It has not been waited for, so the process id is still the child's.
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the child, and close what leads to it."""
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
        return how(code)
