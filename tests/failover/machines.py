"""Three machines as docs/high-availability.md sets them up, on loopback: etcd, Patroni and Postgres on each."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from haulier.local.embedded import _account, _binaries, _make_private
from haulier.local.guard import Guarded
from haulier.postgres.connection import connect
from lab.descendants import descendants
from tests.conftest import eventually, sql_on
from tests.docs.reading import ROOT, blocks, blocks_of

PAGE = "docs/high-availability.md"
ADDRESSES = {"db-a": "10.0.1.11", "db-b": "10.0.1.12", "db-c": "10.0.1.13"}
# Debian's, for which its packages are.
PYTHON = "/usr/bin/python3"
ETCD, PATRONI, DATABASE = "/etc/default/etcd", "/etc/patroni/config.yml", "database.sql"
PASSWORDS = ("REST_PASSWORD", "SUPERUSER_PASSWORD", "REPLICATION_PASSWORD", "JOBS_PASSWORD")

# What init does on a machine: without it, a Postgres that was killed stays a zombie, which Patroni takes for alive.
INIT = """
import ctypes, os, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
child = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
while os.wait()[0] != child.pid:
    pass
"""


@dataclass
class Recipe:
    """What the page says, with other addresses, paths and passwords."""

    replaced: dict[str, str]

    def __post_init__(self) -> None:
        self._files = {block.file: block.text for block in blocks_of(PAGE) if block.file}

    def file(self, name: str, **more: str) -> str:
        """Return a file of the page as it is here."""
        return self.here(self._files[name], **more)

    def here(self, text: str, **more: str) -> str:
        """Return a text of the page as it is here."""
        for old, new in {**self.replaced, **more}.items():
            text = text.replace(old, new)
        return text

    @property
    def url(self) -> str:
        """Return the DATABASE_URL."""
        return self.here(blocks(PAGE, "")[0].strip().removeprefix("DATABASE_URL="))


def end(pids: Iterable[int]) -> None:
    """Kill these processes."""
    for pid in list(pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Machine:
    """One machine: etcd, Patroni, and the Postgres that Patroni starts."""

    name: str
    address: str
    folder: Path
    recipe: Recipe
    packages: Path
    programs: Path
    processes: list[Guarded] = field(default_factory=list)

    def start(self) -> None:
        """Start those of its programs that do not run, with the data of their last run."""
        self.processes = self.processes or self._set_up()
        for process in self.processes:
            if process.process is None or process.ended() is not None:
                process.start()

    def _set_up(self) -> list[Guarded]:
        """Write the page's files, and return the programs that they are for."""
        user = _account()
        _make_private(self.folder, user)
        own = {"THIS_NAME": self.name, "THIS_ADDRESS": self.address}
        own |= {"/var/lib/etcd/jobs": f"{self.folder}/etcd", "/var/lib/postgresql/17/jobs": f"{self.folder}/data"}
        own |= {"/usr/lib/postgresql/17/bin": str(self.programs), "/run/postgresql": str(self.folder)}
        config = self.folder / "patroni.yml"
        config.write_text(self.recipe.file(PATRONI, **own))
        config.chmod(0o600)
        if user:
            os.chown(config, *user)
        settings = dict(re.findall(r'^(\w+)="(.*)"$', self.recipe.file(ETCD, **own), flags=re.MULTILINE))
        libraries = next(self.packages.glob("usr/lib/*/libpq.so.5")).parent
        python = {"PYTHONPATH": str(self.packages / "usr/lib/python3/dist-packages"), "LD_LIBRARY_PATH": str(libraries)}
        return [
            self._guarded("etcd", [str(self.packages / "usr/bin/etcd")], settings),
            self._guarded("patroni", [PYTHON, "-c", INIT, PYTHON, "-m", "patroni", str(config)], python),
        ]

    def _guarded(self, name: str, command: list[str], environ: dict[str, str]) -> Guarded:
        return Guarded(
            command,
            ((signal.SIGTERM, 10.0),),
            user=_account(),
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ},
            cwd=Path("/"),
            # Beside the folder, which is another user's.
            output=self.folder.with_suffix(f".{name}.log"),
        )

    def kill(self) -> None:
        """End every process at once, as a machine that loses its power does."""
        end(pid for process in self.processes for pid in descendants(process.process.pid))
        for process in self.processes:
            eventually(lambda process=process: process.ended() is not None)

    def kill_postgres(self) -> None:
        """End Postgres, and leave Patroni, which will start it again."""
        postmaster = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        end([postmaster, *descendants(postmaster)])

    def members(self) -> list[dict[str, Any]]:
        """Return what Patroni here says of each member; nothing while it does not answer."""
        with suppress(requests.RequestException):
            return list(requests.get(f"http://{self.address}:8008/cluster", timeout=2).json()["members"])
        return []

    def log(self) -> str:
        """Return the end of what its programs said."""
        logs = [self.folder.with_suffix(f".{name}.log") for name in ("etcd", "patroni")]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-4000:]}" for log in logs if log.exists())


@dataclass
class Cluster:
    """Three machines. `url` is the page's DATABASE_URL."""

    machines: list[Machine]
    recipe: Recipe

    @property
    def url(self) -> str:
        return self.recipe.url

    def primary(self) -> Machine:
        """Return the machine of the primary, once both others confirm its commits."""
        return eventually(self._primary)

    def _primary(self) -> Machine | None:
        members = {member["name"]: (member["role"], member["state"]) for member in self.machines[0].members()}
        if sorted(members.values()) != [("leader", "running"), *[("quorum_standby", "streaming")] * 2]:
            return None
        return next(machine for machine in self.machines if members[machine.name][0] == "leader")

    def admin_url(self, machine: Machine, database: str = "postgres") -> str:
        """Return the address of one machine's Postgres, for its superuser."""
        return f"postgresql://postgres:{self.recipe.replaced['SUPERUSER_PASSWORD']}@{machine.address}/{database}"

    def make_database(self) -> None:
        """Run the page's SQL on the primary, and wait until no host refuses the database: libpq would try no other."""
        with closing(connect(self.admin_url(self.primary()))) as conn:
            for statement in self.recipe.file(DATABASE).split(";\n"):
                if statement.strip():
                    sql_on(conn)(statement)
        for machine in self.machines:
            with closing(connect(self.admin_url(machine))) as conn:
                there = partial(sql_on(conn), "SELECT 1 FROM pg_database WHERE datname = 'jobs'")
                eventually(there)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Give three machines that run and have the page's database, and end them afterwards."""
    installed = subprocess.run([ROOT / "tools/install-patroni"], check=True, text=True, stdout=subprocess.PIPE)
    packages = Path(installed.stdout.strip())
    # A network of its own within loopback, for other tests of this kind that run at the same time.
    network = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250) + 2}."
    # What comes from loopback comes from 127.0.0.1.
    replaced = {"10.0.1.0/24": "127.0.0.0/8", "10.0.1.": network, **{word: secrets.token_hex(8) for word in PASSWORDS}}
    recipe = Recipe(replaced)
    # The path of a socket must be short.
    with TemporaryDirectory(prefix="haulier-ha-") as folder:
        Path(folder).chmod(0o711)
        programs = _binaries(Path(folder), _account())
        machines = [
            Machine(name, recipe.here(address), Path(folder, name), recipe, packages, programs)
            for name, address in ADDRESSES.items()
        ]
        try:
            for machine in machines:
                machine.start()
            found = Cluster(machines, recipe)
            found.make_database()
            yield found
        except BaseException:
            for machine in machines:
                print(machine.log())
            raise
        finally:
            for machine in machines:
                machine.kill()
                for process in machine.processes:
                    process.release()
