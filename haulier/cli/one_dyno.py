"""`haulier all`: the API and a worker on one small machine, under one supervisor."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from haulier import worker_state
from haulier.cli.server import server_command
from haulier.cli.web import command
from haulier.config import WORKER_STATE, Config, hand_on, set_together
from haulier.domain.errors import ConfigError
from haulier.libc import adopt_orphans, end_with_parent
from haulier.logs import setup
from haulier.processes import EARLY_SECONDS, SIGNALS, STOPPED, Child, Processes, how, leave

WEB, WORKER = 1, 2
# This many times in a row it may die right at its start. The pauses before are 1 + 2 + 4 + 4 s.
MOST_EARLY_DEATHS = 5
# The first that an inherited listener has, as systemd hands one on.
LISTENER = 3
# gunicorn's own.
BACKLOG = 2048

log = logging.getLogger(__name__)


@server_command("all", example="haulier all", extra="server")
def all_in_one() -> NoReturn:
    """Run web and worker together, for one small machine.

    It restarts a process that dies, and stops both gracefully.
    """
    set_together()
    config = Config.from_env()
    setup(config.log_format, config.log_level, cell=config.cell)
    leave(OneDyno(config, _listen(config.host, config.port)).run())


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        # create_server adds its own words to the system's; what cannot be resolved has no number of the system's.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}. Set PORT or API_BIND_ADDR") from None


class OneDyno(Processes):
    """The API and a worker. Both are programs of their own, in groups of their own.

    It listens itself and hands that on: clients wait while the API is replaced, and are not refused. A port cannot be
    lost either, to the children that a killed gunicorn leaves for a moment.
    """

    longest_pause = 4.0

    def __init__(self, config: Config, door: socket.socket) -> None:
        super().__init__(["web", "worker"], config.shutdown_seconds)
        self._config = config
        self._door = door
        self._state = worker_state.make()
        self._early_deaths = {WEB: 0, WORKER: 0}
        self._groups: list[int] = []

    def run(self) -> int:
        """Keep both running until stopped, and return the exit code: 0, 1, or 130 for a second SIGINT."""
        log.info("starting web and worker, with up to %d database connections in total", self._config.connections)
        adopt_orphans()
        code = super().run()
        self._end_orphans()
        return code

    def stop(self, code: int = 0) -> None:
        """Stop both: the API takes no more requests, and at the same time the worker begins no more jobs.

        Not one after the other: each has all of SHUTDOWN_SECONDS, which is most of what a platform grants together.
        """
        self._door.close()
        super().stop(code)

    def started(self, child: Child) -> None:
        """Note its group, and the worker for the API."""
        # Here as well as there: whoever comes first.
        with suppress(OSError):
            os.setpgid(child.pid, child.pid)
        self._groups.append(child.pid)
        if child.place == WORKER:
            worker_state.write(self._state, runs=True)

    def ended(self, child: Child) -> None:
        """Tell the API of the worker."""
        if child.place == WORKER:
            worker_state.write(self._state, runs=False)

    def lose(self, child: Child, code: int) -> None:
        """Replace one that has ended, however it has; leave if one ends at its start again and again."""
        early = self._early_deaths[child.place] + 1 if child.age < EARLY_SECONDS else 0
        self._early_deaths[child.place] = early
        if early == MOST_EARLY_DEATHS:
            log.critical("%s %s, %d times in a row at its start: exiting with code 1", child, how(code), early)
            self.stop(1)
            return
        self.replace(child, code)

    def stopped_well(self, code: int) -> bool:
        """Return whether it has left as it should; the request may have come before it could note it."""
        return code in (STOPPED, -signal.SIGTERM)

    def send(self, child: Child, number: int) -> None:
        """Send it a signal; none of its own children survives a kill."""
        if number == signal.SIGKILL:
            os.killpg(child.pid, number)
        else:
            super().send(child, number)

    def work(self, place: int) -> NoReturn:
        """Become the program."""
        try:
            os.setpgid(0, 0)
            end_with_parent(signal.SIGTERM)
            self.forked()
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            # If the parent has died before that, no death can be noticed.
            if os.getppid() == self._pid:
                self._become(place)
        except BaseException:
            log.critical("cannot start %s", self._names[place - 1], exc_info=True)
        leave(1)

    def _become(self, place: int) -> NoReturn:
        if place == WORKER:
            os.execv(sys.executable, [sys.executable, "-m", "haulier", "worker"])
        # Out of the way of each other. Without CLOEXEC.
        door, state = (fcntl.fcntl(file, fcntl.F_DUPFD, 16) for file in (self._door.fileno(), self._state))
        os.dup2(door, LISTENER)
        os.close(door)
        hand_on(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", **{WORKER_STATE: str(state)})
        program = command()
        os.execv(program[0], program)

    def _end_orphans(self) -> None:
        """End what a child that was killed has left behind, and nobody has waited for."""
        for group in self._groups:
            with suppress(ChildProcessError):
                while True:
                    if os.waitpid(-group, os.WNOHANG)[0] == 0:
                        os.killpg(group, signal.SIGKILL)
                        os.waitpid(-group, 0)
