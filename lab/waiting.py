"""Waits with a deadline, and runs processes that are ended when their block is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

ROOT = Path(__file__).parents[1]
STOP_SECONDS = 15.0

T = TypeVar("T")


class TookTooLong(RuntimeError):
    """A condition did not become true in time."""


def until(predicate: Callable[[], T | None], *, within: float, what: str, every: float = 0.02) -> T:
    """Return the predicate's first true value. Units: seconds. Raises: TookTooLong."""
    deadline = time.monotonic() + within
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise TookTooLong(f"not within {within:g} s: {what}")
        pause(every)
    return value


def alive(workers: Sequence[subprocess.Popen[bytes]], predicate: Callable[[], T]) -> Callable[[], T]:
    """Return the predicate, changed so that it raises RuntimeError when it is false and a process has ended."""

    def look() -> T:
        if (value := predicate()) or all(worker.poll() is None for worker in workers):
            return value
        raise RuntimeError(f"a worker has ended: {_codes(workers)}")

    return look


def _codes(workers: Sequence[subprocess.Popen[bytes]]) -> str:
    codes = ", ".join(str(worker.returncode) for worker in workers if worker.poll() is not None)
    return f"exit code {codes}"


def pause(seconds: float) -> None:
    """Wait for this long."""
    threading.Event().wait(seconds)


@contextmanager
def processes(
    commands: Sequence[Sequence[str]],
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path = ROOT,
    log: Path | None = None,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield running processes, each the leader of its own group; on leaving they get SIGTERM, and later SIGKILL.

    Their output goes to the file `log`, or nowhere.
    """
    started: list[subprocess.Popen[bytes]] = []
    with open(log or os.devnull, "ab") as output:
        try:
            for command in commands:
                started.append(_start(command, {**environment(), **(env or {})}, cwd, output))
            yield started
        finally:
            _stop(started)


def _start(command: Sequence[str], env: Mapping[str, str], cwd: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _stop(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        _signal(process, signal.SIGTERM, group=False)
    deadline = time.monotonic() + STOP_SECONDS
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        # The whole group: children may have outlived the process.
        _signal(process, signal.SIGKILL, group=True)
        process.wait()


def environment() -> dict[str, str]:
    """Return the environment for started processes: this process's, without settings of Haulier or libpq."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: value for name, value in os.environ.items() if name in kept}


def _signal(process: subprocess.Popen[bytes], number: int, *, group: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.send_signal(number)
