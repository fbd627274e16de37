"""Servers older than the one that most tests run on, if this machine has such a one installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from haulier.local.embedded import STOP_BY, VOLATILE, _account, _make_private, _run_as
from haulier.local.guard import Guarded
from haulier.postgres.connection import connect
from tests.conftest import eventually

# If Debian and its descendants lay them, each major version beside the others.
INSTALLED = Path("/usr/lib/postgresql")
OLDEST_MAJOR = 14


@contextmanager
def oldest_server(given: str) -> Iterator[str]:
    """Give the DSN of the oldest server at hand that Haulier works with: an installed one, or that of the DSN given."""
    with closing(connect(given, application_name="haulier test")) as conn:
        majors = {conn.info.server_version // 10000: None}
    majors |= {int(path.parent.name): path for path in INSTALLED.glob("[0-9]*/bin") if (path / "postgres").exists()}
    binaries = majors[min(major for major in majors if major >= OLDEST_MAJOR)]
    if binaries is None:
        yield given
        return
    # Not below pytest's own folder: a socket's path must be short.
    base = Path(tempfile.mkdtemp(prefix="haulier-old-"))
    try:
        with _running(binaries, base) as dsn:
            yield dsn
    finally:
        shutil.rmtree(base)


@contextmanager
def _running(binaries: Path, base: Path) -> Iterator[str]:
    user = _account()
    base.chmod(0o711)
    for name in ("data", "s"):
        _make_private(base / name, user)
    initdb = [binaries / "initdb", "-D", base / "data", "-U", "postgres", "--auth=trust", "--no-sync"]
    locale = ["--encoding=UTF8", "--locale=C"]
    done = subprocess.run([*initdb, *locale], capture_output=True, text=True, **_run_as(user))
    assert done.returncode == 0, done.stderr
    settings = ["listen_addresses=", f"unix_socket_directories={base / 's'}", *VOLATILE]
    options = [word for each in settings for word in ("-c", each)]
    log = base / "log"
    log.touch()
    postgres = Guarded(
        [str(binaries / "postgres"), "-D", str(base / "data"), *options], STOP_BY, user=user, cwd=Path("/"), output=log
    )
    postgres.start()
    ready = [binaries / "pg_isready", "--quiet", "--username=postgres", "--host", base / "s"]
    try:
        eventually(lambda: subprocess.run(ready).returncode == 0)
        yield f"postgresql://postgres@/postgres?host={quote(str(base / 's'), safe='')}"
    finally:
        postgres.release()
        while postgres.ended(within=1.0) is None:
            pass
