"""An nginx that runs with a configuration of `haulier cells nginx`, for the tests of the router and its figures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.descendants import children
from lab.waiting import ROOT, until

# What Debian's nginx.conf has, in this folder.
MAIN = """\
{user}daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    {temporary}
    access_log off;
    include {folder}/haulier.conf;
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """A running nginx. `address` is where it listens, as host:port; the answers name their server in X-Server."""

    def __init__(self, folder: Path, address: str, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.address, self.process = folder, address, process

    @property
    def workers(self) -> list[int]:
        """Return the processes that serve."""
        return sorted(children(self.process.pid))

    def reload(self, configuration: str) -> list[int]:
        """Take a new configuration, and return the processes of the old one, which finish what they have begun."""
        before = self.workers
        (self.folder / "haulier.conf").write_text(configuration)
        check(self.folder)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: set(self.workers) - set(before), within=20, what="new processes of nginx")
        return before


def program() -> str:
    """Return the path of nginx. Raises: FileNotFoundError."""
    own = ROOT / "build" / "nginx" / "usr" / "sbin" / "nginx"
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") or str(own)
    if not Path(found).exists():
        raise FileNotFoundError("there is no nginx here: tools/install-nginx")
    return found


def write(folder: Path, configuration: str, lines: Sequence[str], workers: int = 2) -> None:
    """Write the files of nginx into this folder; `lines` are those that the operator adds to the server."""
    (folder / "haulier.d").mkdir(parents=True, exist_ok=True)
    (folder / "haulier.d" / "own.conf").write_text("".join(f"{line};\n" for line in lines))
    (folder / "haulier.conf").write_text(configuration)
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    user = "" if os.getuid() else "user root;\n"
    (folder / "nginx.conf").write_text(MAIN.format(user=user, folder=folder, temporary=temporary, workers=workers))


def command(folder: Path) -> list[str]:
    """Return the command that runs nginx with the files in this folder."""
    return [program(), "-p", f"{folder}", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def check(folder: Path) -> None:
    """Return if nginx accepts the files in this folder. Raises: RuntimeError with what it says."""
    done = subprocess.run([*command(folder), "-t"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


@contextmanager
def nginx(folder: Path, configuration: str, address: str, *, workers: int = 2) -> Iterator[Nginx]:
    """Run nginx in this folder with the configuration, listening at the address; stop it on leaving."""
    own = [f"listen {address}", f"access_log {folder}/access.log haulier", "add_header X-Server $upstream_addr always"]
    write(folder, configuration, own, workers)
    check(folder)
    process = subprocess.Popen(command(folder))
    try:
        running = Nginx(folder, address, process)
        until(lambda: (folder / "pid").exists() and running.workers, within=20, what="nginx has started")
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
