"""The kinds of job that this process knows: the decorator that registers one, and what is kept of each."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from marshmallow import RAISE, Schema, ValidationError

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import NAME_PATTERN, Job, Json
from haulier.domain.retry import RetryPolicy
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail
from haulier.kinds.sdk.payload import check_storable, explain
from haulier.kinds.sdk.secret_fields import secret_fields, secret_texts

Handler = Callable[[JobContext, dict[str, Json]], Json]
Check = Callable[[Config], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: its name, the schema of its payload, and its handler.

    `needs` names the fields of Config that must be set, e.g. ("smtp_url", "mail_from"). `check` is called at start when
    all of them are; it raises ConfigError if one is wrong, or returns a warning. isolated runs jobs in a child process,
    which sees no setting that may hold a secret but those in needs and reads. reads names fields of Config that the
    kind can do without ("storage_url") and variables of the environment ("AWS_*").
    Units: timeout is seconds; None means that a run may last for ever.
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
    # The module that a child process imports to get this kind.
    module: str = ""

    def load(self, payload: dict[str, Json]) -> dict[str, Json]:
        """Return the payload, checked and with its defaults. Raises: marshmallow's ValidationError."""
        check_storable(payload)
        loaded: dict[str, Json] = self.schema.load(payload)
        return loaded

    def secrets_of(self, job: Job) -> tuple[str, ...]:
        """Return what the job's secret fields hold, in all forms in which a text may quote it; mostly nothing."""
        tree = secret_fields(self.schema)
        return () if tree is None else secret_texts(job.payload, tree)

    def missing_settings(self, config: Config) -> list[str]:
        """Return the names, as in the environment, of the settings that this kind needs and that are not set."""
        return [need.upper() for need in self.needs if not getattr(config, need)]

    def perform(self, context: JobContext) -> Json:
        """Run the context's job and return the handler's result.

        Raises: Fail for a missing setting or a payload that does not fit the schema (any more), and whatever the
                handler raises.
        """
        if missing := self.missing_settings(context.settings):
            raise Fail(f"{self.name} needs {' and '.join(missing)}, which is not set")
        try:
            payload = self.load(context.job.payload)
        except ValidationError as error:
            raise Fail(f"the payload is invalid for {self.name}: {explain(error.messages)}") from error
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
    """Register the decorated function of (context, payload) as the handler of this kind."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{name!r} is not a valid name for a kind ({NAME_PATTERN})")

    def register(run: Handler) -> Handler:
        if name in _kinds and _kinds[name].run.__module__ != run.__module__:
            raise ConfigError(
                f"the kind {name!r} is defined twice, in {_kinds[name].run.__module__} and {run.__module__}"
            )
        module = _importing[-1] if _importing else run.__module__
        _kinds[name] = Kind(
            name, schema(unknown=RAISE), run, timeout, retry or RetryPolicy(), needs, check, isolated, reads, module
        )
        return run

    return register


def known() -> dict[str, Kind]:
    """Return the registered kinds, by name."""
    return dict(sorted(_kinds.items()))


def import_kind(module: str, name: str) -> Kind:
    """Import the one module that registers this kind, and return the kind. Raises: ConfigError."""
    import_module(module, name)
    return _kinds[name]


def import_module(module: str, source: str) -> None:
    """Import a module of kinds; `source` says in an error where its name comes from. Raises: ConfigError."""
    _importing.append(module)
    try:
        importlib.import_module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever a team's own module raises while it is imported, the process stops with one line that names it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{source}: {module} cannot be imported: {reason}") from error
    finally:
        _importing.pop()
