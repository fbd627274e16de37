"""A PgBouncer in transaction mode before the tests' server, for `pytest --pgbouncer`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
from psycopg2.extensions import parse_dsn

from haulier.local.guard import Guarded
from tests.patience import PATIENCE

PORT = 6432
# All that is not named here is as PgBouncer has it: server_reset_query, max_prepared_statements, and so on.
SETTINGS = """\
[databases]
* = {target}

[pgbouncer]
pool_mode = {mode}
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
auth_user = {user}
auth_dbname = postgres
auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1
default_pool_size = {size}
max_client_conn = 1000
# Connections are opened and closed under way, as they are in a pool that breathes.
server_idle_timeout = 5
logfile = {folder}/log
"""


class Pooler:
    """A PgBouncer that runs. Its log stays for whoever wonders, until the folder is removed."""

    def __init__(self, server: str, folder: Path) -> None:
        self.folder = folder
        self._server = parse_dsn(server)

    def through(self, dsn: str) -> str:
        """Return the DSN of the same database by way of the pool."""
        return _moved(dsn, {"host": str(self.folder), "port": str(PORT)})

    def around(self, dsn: str) -> str:
        """Return the DSN of the same database by way of no pool."""
        return _moved(dsn, {name: self._server[name] for name in ("host", "port") if name in self._server})


def _moved(dsn: str, to: dict[str, str]) -> str:
    parts = urlsplit(dsn)
    login = parts.netloc.rpartition("@")
    query = {**dict(parse_qsl(parts.query)), **to}
    if "port" not in to:
        query.pop("port", None)
    return urlunsplit(parts._replace(netloc=login[0] + login[1], query=urlencode(query, quote_via=quote, safe="")))


@contextmanager
def pooler_to(server: str, *, mode: str = "transaction", size: int = 20) -> Iterator[Pooler]:
    """Run a PgBouncer before that server; it is stopped on leaving, or when this process dies."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    assert program, "there is no pgbouncer here: tools/install-pgbouncer"
    target = parse_dsn(server)
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="haulier-pool-"))
    user = _account(target.get("host", ""))
    fields = {name: target[name] for name in ("host", "port", "password") if name in target}
    (folder / "settings").write_text(
        SETTINGS.format(
            target=" ".join(f"{name}='{value}'" for name, value in fields.items()),
            port=PORT,
            mode=mode,
            size=size,
            folder=folder,
            user=target["user"],
        )
    )
    (folder / "users").write_text(f'"{target["user"]}" "{target.get("password", "")}"\n')
    if user:
        for path in (folder, *folder.iterdir()):
            os.chown(path, *user)
    # SIGQUIT is its immediate stop: SIGTERM would wait for every client.
    process = Guarded([program, str(folder / "settings")], ((signal.SIGQUIT, 5.0),), user=user, output=folder / "out")
    process.start()
    try:
        pooler = Pooler(server, folder)
        _wait_for(process, pooler.through(server))
        yield pooler
    finally:
        process.release()
        assert process.ended(PATIENCE) is not None
        shutil.rmtree(folder)


def _wait_for(process: Guarded, dsn: str) -> None:
    for _ in range(200):
        try:
            return psycopg2.connect(dsn).close()
        except psycopg2.OperationalError as error:
            failure = error
        assert process.ended(within=0.05) is None, "PgBouncer ended"
    raise failure


def _account(host: str) -> tuple[int, int] | None:
    """Return None for a normal user; for root, as whom PgBouncer refuses to run, whoever may reach the server."""
    if os.geteuid() != 0:
        return None
    if host.startswith("/"):
        found = os.stat(host)
        return found.st_uid, found.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
