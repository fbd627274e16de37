"""The program between a worker and a child: it kills every process that the child's jobs have started.

It forks the child and waits until the child ends, the worker asks it to kill the child, or the worker has ended. Then
it kills what is left and ends as the child did, so the worker sees one process, which ends last. It runs no code of a
handler, so nothing can hold it up.

It imports little: memory that the child shares with it and changes exists twice.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from haulier.libc import adopt_orphans

# By this signal the worker has the child killed.
END = signal.SIGUSR1
# How often to check whether the worker is alive. PR_SET_PDEATHSIG was rejected: it comes when the *thread* that started
# this process ends, and macOS lacks it. So was the end of a pipe: a fork of the worker may hold the pipe open.
LOOK_SECONDS = 0.5
# How long to wait for killed processes to end. Programs that run as another user cannot be killed.
CLEAR_SECONDS = 1.0
# The exit code if the system refuses to fork.
CANNOT_FORK = os.EX_OSERR


def main(worker: int, *descriptors: int) -> NoReturn:
    """Start a child, wait until it ends, kill what it has started, and end as it did."""
    # Signals to stop are for the worker. The child unblocks them once it has handlers of its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # No core of a child that crashes, nor of this process, which then ends by the same signal.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    adopt_orphans()
    child = _fork(descriptors)
    # Without a handler macOS drops SIGCHLD even while it is blocked.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    code = _wait(child, worker)
    _kill_descendants()
    _kill_group(worker)
    _end_like(code)


def _fork(descriptors: tuple[int, ...]) -> int:
    """Return the id of a new child; this process closes the descriptors, so that only the child has them."""
    reaper = os.getpid()
    try:
        child = os.fork()
    except OSError:
        os._exit(CANNOT_FORK)
    if child == 0:
        from haulier.worker.isolation.run import serve

        serve(reaper, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return child


def _wait(child: int, worker: int) -> int:
    """Return the child's exit code when it has ended; kill it if the worker says so or has ended."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if pid == 0 and (_next_signal() == END or os.getppid() != worker):
            os.kill(child, signal.SIGKILL)


def _kill_descendants() -> None:
    """Kill all processes below this one. On Linux they become its children when their parents die."""
    until = time.monotonic() + CLEAR_SECONDS
    # ChildProcessError: none is left.
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for pid in _children():
                    with suppress(PermissionError):
                        os.kill(pid, signal.SIGKILL)
                _next_signal()


def _kill_group(worker: int) -> None:
    """Kill the rest of the group that this process leads; on macOS that is all that the child has started."""
    group = os.getpid()
    # Leave the group before, to end with the child's exit code. If the worker has ended, nobody needs that code.
    with suppress(OSError):
        os.setpgid(0, os.getpgid(worker))
    with suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def _next_signal() -> int:
    """Wait until a child ends, the worker's signal comes, or it is time to check again."""
    return signal.sigwait({signal.SIGCHLD, END, signal.SIGALRM})


def _children() -> list[int]:
    """Return the children of this process. None has been reaped, so each id is still that child's."""
    # Not every kernel has /proc/…/task/…/children.
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == os.getpid()]


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _end_like(code: int) -> NoReturn:
    """End with this exit code; if it is negative, by that signal."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
