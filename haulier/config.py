"""The settings: one frozen Config, read from the environment in this file and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from haulier.domain.errors import ConfigError
from haulier.domain.job import NAME_PATTERN
from haulier.domain.schedules.time_zone import zone_names

T = TypeVar("T")

# Of a worker process, however many threads run jobs: one of these at a time calls for all of them, and they share its
# connection; heartbeat, listener and settler have one each, and the scheduler while there are schedules.
LASTING_CONNECTIONS = 5
# At times, of a worker process; always, of the one that counts.
HOUSEKEEPING_CONNECTIONS = 1
# The longest name of a release.
MOST_RELEASE = 100
# What the names of secret values have in them.
SECRET_NAMES = ("password", "secret", "token", "authorization", "cookie", "api_key", "apikey", "credential")


def _setting(default: object, read: Callable[[_Reader, str], object], *, name: str = "", is_shown: bool = True) -> Any:
    """Return the field of a setting, named as the field in capitals unless a name is given."""
    return field(default=default, repr=is_shown, metadata={"name": name, "read": read})


def _integer(default: int | None, least: int, most: int) -> Any:
    return _setting(default, lambda reader, name: reader.integer(name, default, least, most))


def _number(default: float, least: float, most: float) -> Any:
    return _setting(default, lambda reader, name: reader.number(name, default, least, most))


def _choice(default: str, *choices: str) -> Any:
    return _setting(default, lambda reader, name: reader.choice(name, default, choices))


def _text(default: str | None = None, *, is_shown: bool = True) -> Any:
    return _setting(default, lambda reader, name: reader.text(name, default), is_shown=is_shown)


def _secret(*, least: int) -> Any:
    return _setting(None, lambda reader, name: reader.secret(name, least=least), is_shown=False)


def _words(name: str = "") -> Any:
    return _setting((), lambda reader, name: reader.words(name), name=name)


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. `docs/settings.md` explains each."""

    # Settings that may hold a password are not in the repr, which ends up in logs.
    database_url: str = field(repr=False, metadata={"name": "", "read": lambda reader, _: reader.database_url()})
    database_direct_url: str | None = _setting(
        None, lambda reader, name: reader.optional(name, reader.postgres_url), is_shown=False
    )
    source_database_url: str | None = _setting(
        None, lambda reader, name: reader.optional(name, reader.postgres_url), is_shown=False
    )
    cell: int | None = _integer(None, 1, 255)
    target_database_url: str | None = _setting(
        None, lambda reader, name: reader.optional(name, reader.postgres_url), is_shown=False
    )
    # From API_BIND_ADDR and PORT.
    host: str = "127.0.0.1"
    port: int = 8080
    auth: str = _choice("", "", "off")
    haulier_hosts: tuple[str, ...] = _words()
    haulier_api_key: str | None = _secret(least=32)
    docs_public: str = _choice("1", "1", "0")
    metrics_token: str | None = _secret(least=16)
    dashboard: str = _choice("on", "on", "read", "off")
    installation_name: str | None = _text()
    cells_file: str | None = _text()
    time_zone: str = _setting("UTC", lambda reader, name: reader.zone(name, "UTC"))
    hide_fields: tuple[str, ...] = _setting(SECRET_NAMES, lambda reader, name: reader.fragments(name, SECRET_NAMES))
    session_hours: int = _integer(12, 1, 168)
    db_connection_limit: int | None = _integer(None, 6, 10_000)
    # The names of the settings that DB_CONNECTION_LIMIT has lowered.
    reduced: tuple[str, ...] = ()
    queues_per_key: int = _integer(1_000, 1, 100_000)
    queues_in_all: int = _integer(10_000, 1, 100_000)
    web_concurrency: int = _integer(2, 1, 500)
    web_threads: int = _integer(3, 1, 500)
    worker_processes: int = _integer(1, 1, 100)
    worker_threads: int = _integer(8, 1, 500)
    worker_queues: tuple[str, ...] = _setting((), lambda reader, name: reader.names(name))
    worker_metrics_host: str = _text("127.0.0.1")
    worker_metrics_port: int = _integer(9091, 0, 65_535)
    # WORKER_METRICS_PORT is not set, so that another port does as well if that one is taken.
    metrics_port_may_move: bool = True
    lease_seconds: float = _number(30.0, 1, 3600)
    poll_seconds: float = _number(1.0, 0.02, 60)
    wake_ups: str = _choice("on", "on", "off")
    isolated_processes: int = _integer(2, 1, 500)
    isolated_memory_mb: int = _integer(320, 128, 1_048_576)
    release: str | None = _setting(None, lambda reader, name: reader.release(name))
    shutdown_seconds: float = _number(25.0, 0, 3600)
    stuck_seconds: float = _number(10.0, 0.1, 3600)
    late_seconds: float = _number(300.0, 1, 604_800)
    retention_days: int = _integer(30, 1, 1825)
    idempotency_days: int = _integer(30, 1, 3650)
    counting: str = _choice("on", "on", "off")
    log_format: str = _choice("text", "text", "json")
    log_jobs: str = _choice("off", "off", "on")
    log_level: str = _choice("INFO", "DEBUG", "INFO", "WARNING", "ERROR")
    executor: str = _choice("real", "real", "simulated")
    kinds: tuple[str, ...] = _words("HAULIER_KINDS")
    middleware: tuple[str, ...] = _setting((), lambda reader, name: reader.functions(name), name="HAULIER_MIDDLEWARE")
    smtp_url: str | None = _text(is_shown=False)
    mail_from: str | None = _text()
    storage_url: str | None = _text(is_shown=False)
    webhook_secret: str | None = _text(is_shown=False)
    outbound_allow_private: tuple[str, ...] = _words()
    # From DYNO and RENDER.
    ephemeral_disk: bool = False
    # The API is mounted in another web application, whose server listens: host and port say nothing.
    is_mounted: bool = False

    @property
    def beat_seconds(self) -> float:
        """Return the time between heartbeats: three fit into a lease, so that one may be lost."""
        return self.lease_seconds / 3

    @property
    def worker_connections(self) -> int:
        """Return how many connections one worker process has in normal times, those of its handlers included."""
        return LASTING_CONNECTIONS - (self.wake_ups == "off") + self.orm_connections

    @property
    def orm_connections(self) -> int:
        """Return how many connections the handlers of one worker process keep: one per thread if they use an ORM."""
        uses_orm = any(name.startswith("haulier.contrib.") for name in self.middleware)
        return self.worker_threads if uses_orm else 0

    @property
    def web_connections(self) -> int:
        """Return how many connections the API's processes have at most, together."""
        return self.web_concurrency * self.web_threads

    @property
    def connections(self) -> int:
        """Return how many connections the API and a worker have at most, together."""
        worker = self.worker_connections + HOUSEKEEPING_CONNECTIONS
        return self.web_connections + self.worker_processes * worker

    @property
    def direct_url(self) -> str:
        """Return the database's address for what needs its own session, as LISTEN does: the one without a pool."""
        return self.database_direct_url or self.database_url

    @property
    def direct_setting(self) -> str:
        """Return the name of the setting that gave this address."""
        return "DATABASE_DIRECT_URL" if self.database_direct_url else "DATABASE_URL"

    @property
    def is_loopback(self) -> bool:
        """Return whether the API listens only on this machine's loopback address; a proxy may still let others in."""
        return not self.is_mounted and is_loopback(self.host)

    def withheld(self, needed: Collection[str]) -> Config:
        """Return these settings without those that may hold a secret, except for the needed fields."""
        secret = {each.name for each in fields(self) if not each.repr} - set(needed)
        empty: dict[str, Any] = {name: "" if name == "database_url" else None for name in secret}
        return replace(self, **empty)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Config:
        """Return the settings of this process.

        Raises: ConfigError, its message one line that names the setting and the remedy.
        """
        reader = _Reader(environ)
        default: dict[str, Any] = {each.name: each.default for each in fields(cls)}
        host, port = reader.bind(default["host"], default["port"])
        read = {
            each.name: each.metadata["read"](reader, each.metadata["name"] or each.name.upper())
            for each in fields(cls)
            if each.metadata
        }
        asked = {name: read[name] for name in ("web_threads", "worker_processes")}
        fitting = _fit(asked, limit) if (limit := read["db_connection_limit"]) else asked
        return cls(
            host=host,
            port=port,
            reduced=tuple(name.upper() for name in asked if fitting[name] < asked[name]),
            metrics_port_may_move=reader.text("WORKER_METRICS_PORT") is None,
            ephemeral_disk="DYNO" in environ or "RENDER" in environ,
            **(read | fitting),
        )


def _fit(asked: dict[str, int], limit: int) -> dict[str, int]:
    """Return the settings cut to the limit, which each web process may use in full and the worker's processes share."""
    processes = limit // (LASTING_CONNECTIONS + HOUSEKEEPING_CONNECTIONS)
    most = {"web_threads": limit, "worker_processes": processes}
    return {name: min(number, most[name]) for name, number in asked.items()}


# Variables that programs and libraries read, and that hold no secret.
_PLAIN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "TMPDIR")
_LIBRARIES = ("LD_*", "DYLD_*", "PYTHON*", "VIRTUAL_ENV", "MALLOC_*", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF")


def environment(names: Collection[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a child process: what holds no secret, and the variables that match these names.

    A name may be a pattern, such as `AWS_*`.
    """
    wanted = (*_PLAIN, *_LIBRARIES, *names)
    return {name: value for name, value in environ.items() if any(fnmatchcase(name, each) for each in wanted)}


# Of the commands that call the API, and where a person's files are. docs/command-line.md says what each does.
_OF_CLIENTS = ("HAULIER_URL", "HAULIER_API_KEY", "HAULIER_PROFILE", "DATABASE_URL", "NO_COLOR", "TERM")
_FOLDERS = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


def client_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what commands that call the API go by; an empty variable counts as unset."""
    names = (*_OF_CLIENTS, *_FOLDERS)
    return {name: value for name in names if (value := environ.get(name, "").strip())}


# What Render, Dokku and, with its feature runtime-dyno-metadata, Heroku call the commit that they have deployed.
_COMMITS = ("RENDER_GIT_COMMIT", "GIT_REV", "HEROKU_SLUG_COMMIT")


def deployed_commit(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the commit that this platform has deployed; None if nothing says it."""
    commits = [environ.get(name, "").strip() for name in _COMMITS]
    return next((commit for commit in commits if re.fullmatch(r"[0-9a-f]{40,64}", commit)), None)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a port at this address."""
    # Matched as a whole: 127.example.com begins the same, and may be any machine.
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def keep_metrics_in(folder: str | None) -> None:
    """Set the folder of shared counts, or none, for prometheus_client, which reads it only from the environment."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)
    if folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


# Of web and worker on one small machine, so that they fit into 512 MB; and their one log shows each job's end.
TOGETHER = {"WEB_CONCURRENCY": "1", "ISOLATED_PROCESSES": "1", "LOG_JOBS": "on"}
WORKER_STATE = "HAULIER_WORKER_STATE"


def set_together() -> None:
    """Set what TOGETHER says, for this process and those that it starts, but for what is set."""
    for name, value in TOGETHER.items():
        if not os.environ.get(name, "").strip():
            os.environ[name] = value


def hand_on(**variables: str) -> None:
    """Set variables for the program that this process becomes."""
    os.environ.update(variables)


def worker_state() -> int | None:
    """Return the file in which `haulier all` keeps whether the worker beside this API runs; None elsewhere."""
    given = os.environ.get(WORKER_STATE)
    return int(given) if given else None


class _Reader:
    """Reads one environment; an empty value counts as unset, since the forms of platforms leave such values."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def text(self, name: str, default: str | None = None) -> str | None:
        return self.environ.get(name, "").strip() or default

    def release(self, name: str) -> str | None:
        # The environment may hold bytes that are no text, which the database would refuse.
        return (self.text(name) or "")[:MOST_RELEASE].encode(errors="replace").decode() or None

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        return read(name) if self.text(name) else None

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word for word in re.split(r"[,\s]+", self.environ.get(name, "")) if word)

    def names(self, name: str) -> tuple[str, ...]:
        words = self.words(name)
        if words == ("*",):
            return ()
        for word in words:
            if not re.fullmatch(NAME_PATTERN, word):
                raise ConfigError(f"{name}: {word!r} is not a valid queue name ({NAME_PATTERN})")
        return words

    def functions(self, name: str) -> tuple[str, ...]:
        words = self.words(name)
        for word in words:
            if not re.fullmatch(r"[\w.]+:\w+", word):
                raise ConfigError(f"{name}={word!r}: must be module:name, such as shop.worker:traced")
        return words

    def fragments(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word.lower().replace("-", "_") for word in self.words(name))
        return () if words == ("none",) else words or default

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        given = self.text(name, default) or default
        for choice in choices:
            if given.lower() == choice.lower():
                return choice
        raise ConfigError(f"{name}={given!r}: must be one of {', '.join(filter(None, choices))}")

    def integer(self, name: str, default: T, least: int, most: int) -> int | T:
        number = self.number(name, None, least, most, whole=True)
        return default if number is None else int(number)

    def number(self, name: str, default: T, least: float, most: float, *, whole: bool = False) -> float | T:
        given = self.text(name)
        if given is None:
            return default
        pattern = r"[0-9]{1,9}" if whole else r"[0-9]{1,9}(\.[0-9]{1,9})?"
        if not re.fullmatch(pattern, given) or not least <= float(given) <= most:
            what = "a whole number" if whole else "a number"
            raise ConfigError(f"{name}={given!r}: must be {what} from {least} to {most}")
        return float(given)

    def zone(self, name: str, default: str) -> str:
        given = self.text(name, default) or default
        if given not in zone_names():
            raise ConfigError(f"{name}={given!r}: must be a time zone's name, such as Europe/Berlin")
        return given

    def secret(self, name: str, *, least: int) -> str | None:
        given = self.text(name)
        # Only characters that a header can hold. The error does not quote the secret.
        if given is not None and not re.fullmatch(rf"[!-~]{{{least},255}}", given):
            raise ConfigError(f"{name}: must be {least} to 255 visible ASCII characters, none of them a space")
        return given

    def database_url(self) -> str:
        if self.text("DATABASE_URL") is None:
            raise ConfigError("DATABASE_URL is not set: set it to postgres://user:password@host/name")
        return self.postgres_url("DATABASE_URL")

    def postgres_url(self, name: str) -> str:
        url = self.text(name, "") or ""
        if not url.startswith(("postgres://", "postgresql://")):
            # The error does not quote the URL: a malformed one still holds its password.
            raise ConfigError(f"{name}: must begin with postgres:// or postgresql://")
        return url

    def bind(self, host: str, port: int) -> tuple[str, int]:
        address = self.text("API_BIND_ADDR")
        if address is None:
            return ("0.0.0.0" if self.text("PORT") else host), self.integer("PORT", port, 1, 65_535)
        host, colon, port_text = address.rpartition(":")
        if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port_text) and 0 < int(port_text) < 65_536):
            raise ConfigError(f"API_BIND_ADDR={address!r}: must be host:port")
        return host.strip("[]"), int(port_text)
