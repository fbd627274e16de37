"""Child processes that never outlive this one, however it ends: kill -9 included, on Linux and macOS.

Between this process and each command stands a guard: this file, run as a program. Its standard input is a pipe, the
lifeline, that only this process holds open. When this process closes the pipe, or dies and the kernel closes it, the
guard stops the command. There is no other way to stop, so every ordinary stop tests the one after a kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Signals to send one after the other, each with the seconds that it is given; then SIGKILL.
Steps = Sequence[tuple[signal.Signals, float]]
# The ends of lifelines that this process holds open.
_held: set[int] = set()


def _let_go() -> None:
    """Close, in a fork of this process, all lifelines: a fork that lives on must not keep the commands running."""
    for end in _held:
        os.close(end)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def for_us_alone(path: str, flags: int) -> int:
    """Return a descriptor of the file; if open() creates it, only its owner may read it, whatever the umask."""
    return os.open(path, flags, 0o600)


@dataclass
class Guarded:
    """A command under guard, with its own process group, so that a terminal's Ctrl-C does not reach it.

    `user` is the (uid, gid) to run it as. output is a file to append to; None: the output of this process. `pass_fds`
    are inherited by the command. The commands in `needs` are stopped only after this one has ended, also if the kernel
    closes the lifelines.
    """

    command: Sequence[str]
    stop_by: Steps
    user: tuple[int, int] | None = None
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    output: Path | None = None
    pass_fds: Sequence[int] = ()
    needs: Sequence[Guarded] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    lifeline: tuple[int, int] = field(default_factory=os.pipe, init=False)

    def __post_init__(self) -> None:
        _held.update(self.lifeline)

    def start(self) -> None:
        """Start the command, or start it again after it ended."""
        order = {"stop_by": self.stop_by, "user": self.user, "pass_fds": self.pass_fds}
        with open(self.output, "ab", opener=for_us_alone) if self.output else contextlib.nullcontext() as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, json.dumps(order), *self.command],
                stdin=self.lifeline[0],
                stdout=output,
                stderr=output,
                env=self.env,
                cwd=self.cwd,
                # The guard holds the lifelines of what the command needs for as long as the command runs.
                pass_fds=(*self.pass_fds, *(needed.lifeline[1] for needed in self.needs)),
                start_new_session=True,
            )

    def ended(self, within: float = 0.0) -> int | None:
        """Return the command's exit code once it has ended, or None after waiting that long. Units: seconds."""
        assert self.process is not None, "not started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(within)
        return None

    def kill(self) -> None:
        """Kill the command at once, without a chance to stop by itself."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)

    def release(self) -> None:
        """Close the lifeline, so that the guard stops the command; do not wait for it."""
        for end in _held.intersection(self.lifeline):
            _held.remove(end)
            os.close(end)


def main() -> int:
    order, command = json.loads(sys.argv[1]), sys.argv[2:]
    group: int | None = None
    hurried = False

    def hurry(*_: object) -> None:
        nonlocal hurried
        hurried = True
        if group is not None:
            _signal_group(group, signal.SIGKILL)

    signal.signal(signal.SIGUSR1, hurry)
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, lambda *_: None)  # ignored: only the end of the lifeline stops the command
    uid, gid = order["user"] or (None, None)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=uid,
        group=gid,
        extra_groups=[] if order["user"] else None,
        pass_fds=order["pass_fds"],
        process_group=0,
        preexec_fn=_tie_to_guard(order["stop_by"][0][0]),
    )
    group = child.pid
    if hurried:
        _signal_group(group, signal.SIGKILL)
    ended = threading.Event()
    threading.Thread(target=_stop_at_end_of_lifeline, args=(group, order["stop_by"], ended), daemon=True).start()

    code = child.wait()
    ended.set()
    _clear_group(group, order["stop_by"])
    return code if code >= 0 else 128 - code


def _tie_to_guard(how: int):  # type: ignore[no-untyped-def]
    """Return what the child does before exec: on Linux, ask to be stopped should the guard itself be killed.

    There the guard also becomes the parent of processes that the child leaves behind: else that would be a container's
    first process, which may never reap them.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    libc, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = ctypes.CDLL(None), 1, 36
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, how)


def _stop_at_end_of_lifeline(pid: int, steps: Steps, ended: threading.Event) -> None:
    while os.read(0, 1):
        pass
    for how, seconds in steps:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        if ended.wait(seconds):
            return
    _signal_group(pid, signal.SIGKILL)


def _clear_group(group: int, steps: Steps) -> None:
    """End what the command left behind in its group: the workers of a server that was killed, for example."""
    # Never set: nothing says when the last process of the group has ended.
    all_gone = threading.Event()
    for how, seconds in (*steps, (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + seconds
        _signal_group(group, how)
        while _is_there(group):
            if time.monotonic() > deadline:
                break
            all_gone.wait(0.02)
        else:
            return


def _is_there(group: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    return _signal_group(group, 0)


def _signal_group(group: int, how: int) -> bool:
    """Return whether there was a process of that group to send the signal to."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
