"""The kinds of job that this process knows: the decorator that registers one, and what is kept of each."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from marshmallow import Schema, ValidationError

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import NAME_PATTERN, Job, Json
from haulier.domain.retry import RetryPolicy
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail
from haulier.kinds.sdk.middleware import Middleware
from haulier.kinds.sdk.payload import check_storable, explain, unknown_fields
from haulier.kinds.sdk.secret_fields import secret_fields, secret_texts


class UnknownFields(Fail):
    """The payload has fields that the schema does not know, perhaps because a newer version of the kind has them.

    Attributes:
        names: The paths of these fields.
    """

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


Handler = Callable[[JobContext, dict[str, Json]], Json]
"""A function that runs a job: it takes the context and the checked payload, and returns any JSON as the result."""
Check = Callable[[Config], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A registered kind of job. The decorator `kind` makes it.

    Attributes:
        name: The name that jobs are enqueued by.
        schema: Checks the payload.
        run: The handler.
        timeout: How many seconds a run may take; None for no limit.
        retry: How long to wait between attempts.
        needs: Settings that must be set, such as `("smtp_url", "mail_from")`.
        check: Called at start if all of `needs` are set.
        isolated: Whether each job runs in a child process.
        reads: Settings and environment variables that an isolated kind sees as well, such as `"AWS_*"`.
        module: The module that a child process imports to get this kind.
        middleware: What wraps each run, outermost first.
    """

    name: str
    schema: Schema
    run: Handler
    timeout: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    needs: tuple[str, ...] = ()
    check: Check | None = None
    isolated: bool = False
    reads: tuple[str, ...] = ()
    module: str = ""
    middleware: tuple[Middleware, ...] = ()

    def load(self, payload: dict[str, Json]) -> dict[str, Json]:
        """Return the payload, checked and with its defaults.

        Raises:
            ValidationError: The payload does not match the schema. The exception is marshmallow's.
        """
        check_storable(payload)
        loaded: dict[str, Json] = self.schema.load(payload)
        return loaded

    def secrets_of(self, job: Job) -> tuple[str, ...]:
        """Return the secrets of the job's payload, in each form in which a text may quote them."""
        tree = secret_fields(self.schema)
        return () if tree is None else secret_texts(job.payload, tree)

    def missing_settings(self, config: Config) -> list[str]:
        """Return the environment variables that this kind needs and that are not set."""
        return [need.upper() for need in self.needs if not getattr(config, need)]

    def perform(self, context: JobContext) -> Json:
        """Run the job of the context, and return the handler's result.

        Raises:
            Fail: A setting is missing, or the payload does not match the schema; UnknownFields if it has other fields.
            Exception: Whatever the handler raises.
        """
        if missing := self.missing_settings(context.settings):
            raise Fail(f"{self.name} needs {' and '.join(missing)}, which is not set")
        try:
            payload = self.load(context.job.payload)
        except ValidationError as error:
            message = f"the payload is invalid for {self.name}: {explain(error.messages)}"
            names = unknown_fields(self.schema, error.messages)
            raise (UnknownFields(message, names) if names else Fail(message)) from error
        return self.run(context, payload)


_kinds: dict[str, Kind] = {}
# The modules of kinds that are being imported, the innermost last.
_importing: list[str] = []


def kind(  # noqa: PLR0913  # each is one thing that an author may say of a kind
    name: str,
    *,
    schema: type[Schema],
    timeout: int | None = None,
    retry: RetryPolicy | None = None,
    needs: tuple[str, ...] = (),
    check: Check | None = None,
    isolated: bool = False,
    reads: tuple[str, ...] = (),
) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of a kind.

    Args:
        name: The name that jobs are enqueued by, such as `send_email`.
        schema: Checks each payload, when its job is enqueued and again before it runs.
        timeout: How many seconds a run may take; without it, a run may last for ever.
        retry: How long to wait between attempts.
        needs: Settings that must be set, as fields of the configuration, such as `("smtp_url", "mail_from")`.
            If one is missing, jobs of this kind fail.
        check: Called at start with the configuration if all of `needs` are set. It raises ConfigError if a setting is
            wrong, or returns a warning.
        isolated: Run each job in a child process, which sees only those secret settings that `needs` and `reads` name.
        reads: Settings that the kind can do without, such as `"storage_url"`, and environment variables, such as
            `"AWS_*"`.

    Raises:
        ConfigError: The name is invalid, another module registers it too, or the handler is async or a generator.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{name!r} is not a valid name for a kind ({NAME_PATTERN})")

    def register(run: Handler) -> Handler:
        _check_handler(name, run)
        if name in _kinds and _kinds[name].run.__module__ != run.__module__:
            raise ConfigError(
                f"the kind {name!r} is defined twice, in {_kinds[name].run.__module__} and {run.__module__}"
            )
        module = _importing[-1] if _importing else run.__module__
        _kinds[name] = Kind(name, schema(), run, timeout, retry or RetryPolicy(), needs, check, isolated, reads, module)
        return run

    return register


_NO_HANDLERS = (
    (inspect.iscoroutinefunction, "is an async function: write a plain one that calls asyncio.run(…)"),
    (inspect.isasyncgenfunction, "is an async generator: write a plain function that calls asyncio.run(…)"),
    (inspect.isgeneratorfunction, "is a generator: return the result, do not yield it"),
)


def _check_handler(name: str, run: Handler) -> None:
    """Refuse a handler of which a call would only make an object that does not run. Raises: ConfigError."""
    for is_so, problem in _NO_HANDLERS:
        if is_so(run) or is_so(type(run).__call__):
            raise ConfigError(f"the handler of the kind {name!r} {problem}")


def known() -> dict[str, Kind]:
    """Return the registered kinds, by name."""
    return dict(sorted(_kinds.items()))


def import_kind(module: str, name: str) -> Kind:
    """Import the one module that registers this kind, and return the kind. Raises: ConfigError."""
    import_module(module, name)
    return _kinds[name]


def import_function(name: str, source: str) -> Callable[..., Any]:
    """Return the function named `module:name`; `source` is the setting, for errors. Raises: ConfigError."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] | None = getattr(import_module(module, source), attribute, None)
    if not callable(function):
        raise ConfigError(f"{source}: {module} has no function {attribute!r}")
    return function


def import_module(module: str, source: str) -> ModuleType:
    """Return a module of kinds; `source` says in an error where its name comes from. Raises: ConfigError."""
    _importing.append(module)
    try:
        return importlib.import_module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever a team's own module raises while it is imported, the process stops with one line that names it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{source}: {module} cannot be imported: {reason}") from error
    finally:
        _importing.pop()
