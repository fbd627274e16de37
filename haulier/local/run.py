"""`make run` and `haulier run`: API and worker, on DATABASE_URL or an embedded PostgreSQL with its data in var/."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from haulier.config import Config
from haulier.local.embedded import Server, home
from haulier.local.supervisor import CHECKOUT, NotStarted, Signals, Supervisor, next_free_port, say, why_not
from haulier.local.var_folder import make_var
from haulier.postgres.connection import parse


def run(root: Path = CHECKOUT, command: str = "make run") -> int:
    """Run until stopped, and return the exit code. `root` has the kinds, and var/ in it."""
    signals = Signals()
    environ = settings(make_var(root))
    with ExitStack() as stack:
        postgres = None
        if not environ.get("DATABASE_URL"):
            stack.enter_context(only_one(command, root))
            refuse_occupied_port(environ, command)
            server = stack.enter_context(Server(home(root) / "pg"))
            postgres, environ["DATABASE_URL"] = server.postgres, server.dsn
            say(f"PostgreSQL keeps its data in {server.base}")
        else:
            refuse_occupied_port(environ, command)
        supervisor = stack.enter_context(Supervisor(environ, signals, postgres=postgres, root=root))
        say(_database(environ["DATABASE_URL"], is_ours=postgres is not None))
        if supervisor.config.dashboard != "off":
            say(f"dashboard {supervisor.url}/ui")
        say(f"API {supervisor.url}  docs {supervisor.url}/docs  metrics {supervisor.url}/metrics")
        say("Ctrl-C stops everything")
        while not signals.stop:
            supervisor.tick()
        say("stopping; press Ctrl-C again to stop without waiting for jobs")
    return 0


def _database(url: str, *, is_ours: bool) -> str:
    """Return a line for other programs that want the same database; it has no password of the user's."""
    if is_ours:
        return f"DATABASE_URL={url}"
    given = parse(url)
    where = [f"{name}={given[name]}" for name in ("host", "port", "dbname", "user") if name in given]
    return f"DATABASE_URL is the one that you have set: {' '.join(where)}"


def clean() -> int:
    """Remove the data of `make run` and `make demo`, and return the exit code."""
    with only_one("make run"), only_one("make demo"):
        for folder in {home(CHECKOUT), CHECKOUT / "var"}:
            say(f"removing {folder}")
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def settings(var: Path) -> dict[str, str]:
    """Return the environment of the processes: what is set, and defaults that suit a developer's machine."""
    environ = {name: value for name, value in os.environ.items() if value}
    # On a developer's machine the API listens only on loopback; deployed, PORT means every address.
    environ.setdefault("API_BIND_ADDR", f"127.0.0.1:{environ.get('PORT', '8080')}")
    environ.setdefault("STORAGE_URL", (var / "storage").as_uri())
    environ.setdefault("SMTP_URL", (var / "mail").as_uri())
    # Whoever has just enqueued a job looks for its end.
    environ.setdefault("LOG_JOBS", "on")
    environ.setdefault("MAIL_FROM", "haulier@localhost")
    environ.setdefault("WEBHOOK_SECRET", kept_secret(var / "webhook-secret"))
    return environ


def kept_secret(path: Path) -> str:
    """Return the secret in the file; make one if there is no file."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    secret = new_secret()
    path.parent.mkdir(exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret)
    return secret


def new_secret() -> str:
    """Return a new secret as Standard Webhooks writes them."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


@contextmanager
def only_one(command: str, root: Path = CHECKOUT) -> Iterator[None]:
    """Let the block run in one process of this folder at a time. Raises: NotStarted if it runs in another."""
    with open(home(root) / f"{command.split()[1]}.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStarted(f"`{command}` is already running in this folder: stop it first") from None
        yield


def refuse_occupied_port(environ: dict[str, str], command: str) -> None:
    """Return if the API can listen on its port. Raises: NotStarted, which names another port that is free."""
    config = Config.from_env({"DATABASE_URL": "postgres://", **environ})
    if reason := why_not(config.host, config.port):
        free = next_free_port(config.host, config.port + 1)
        other = f"API_BIND_ADDR={config.host}:{free}" if os.environ.get("API_BIND_ADDR") else f"PORT={free}"
        raise NotStarted(f"cannot listen on port {config.port}: {reason}. To use another port: {other} {command}")
