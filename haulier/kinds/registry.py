"""Which kinds of job this process knows, and the decorator by which a kind makes itself known."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from marshmallow import RAISE, Schema, ValidationError

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import NAME_PATTERN, Json
from haulier.domain.retry import RetryPolicy
from haulier.kinds.addresses import guard
from haulier.kinds.context import JobContext
from haulier.kinds.payload import check_storable, explain
from haulier.kinds.signals import Fail

Handler = Callable[[JobContext, dict[str, Json]], Json]
Check = Callable[[Config], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: its name, the shape of its payload, and what it does.

    Shape: needs names the fields of Config that must be set, e.g. ("smtp_url", "mail_from"); check is called once
           at start, when they are; it raises ConfigError where one of them is wrong, or returns a warning.
           isolated runs its jobs in a child process, which of what may hold a secret sees only needs and reads:
           fields of Config that it can do without ("storage_url"), variables of the environment ("AWS_*").
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
    # What a child process has to import to know it.
    module: str = ""

    def load(self, payload: dict[str, Json]) -> dict[str, Json]:
        """Return the payload, checked and with its defaults. Raises: marshmallow's ValidationError."""
        check_storable(payload)
        loaded: dict[str, Json] = self.schema.load(payload)
        return loaded

    def missing_settings(self, config: Config) -> list[str]:
        """Return the names, as in the environment, of the settings that this kind lacks."""
        return [need.upper() for need in self.needs if not getattr(config, need)]

    def perform(self, context: JobContext) -> Json:
        """Run the context's job and return the handler's result.

        Raises: Fail for a setting that is missing or a payload that does not fit (any more), and whatever the
                handler raises.
        """
        if missing := self.missing_settings(context.settings):
            raise Fail(f"{self.name} needs {' and '.join(missing)}, which is not set")
        try:
            payload = self.load(context.job.payload)
        except ValidationError as error:
            raise Fail(f"the payload does not fit {self.name}: {explain(error.messages)}") from error
        return self.run(context, payload)


_kinds: dict[str, Kind] = {}
# The module of kinds that is being imported.
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
        raise ConfigError(f"{name!r} is not a kind's name ({NAME_PATTERN})")

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


def load_kinds(config: Config) -> dict[str, Kind]:
    """Return every kind by name: those in this folder and those named by HAULIER_KINDS.

    Raises: ConfigError for a module that cannot be imported, and for a setting of theirs that is wrong.
    """
    import haulier.kinds

    for found in pkgutil.iter_modules(haulier.kinds.__path__):
        _import(f"haulier.kinds.{found.name}", "haulier/kinds")
    for module in config.kinds:
        _import(module, "HAULIER_KINDS")
    known = dict(sorted(_kinds.items()))
    if config.executor == "simulated":
        from haulier.kinds.simulated import simulate

        return {name: simulate(real) for name, real in known.items()}
    guard(config.outbound_allow_private)
    for each in known.values():
        if each.check is not None and not each.missing_settings(config):
            each.check(config)
    return known


def import_kind(module: str, name: str) -> Kind:
    """Return one kind, by the module that makes it known, with nothing else imported. Raises: ConfigError."""
    _import(module, name)
    return _kinds[name]


def warn_missing(kinds: Iterable[Kind], config: Config) -> list[str]:
    """Return what to warn of at start, a line each: kinds that lack a setting, files on a disk that vanishes."""
    warnings: list[str] = []
    for each in kinds:
        if missing := each.missing_settings(config):
            warnings.append(f"{' and '.join(missing)} not set: every {each.name} job will fail")
        elif each.check is not None and (warning := each.check(config)):
            warnings.append(warning)
    if config.ephemeral_disk and config.executor == "real":
        for name, url in (("SMTP_URL", config.smtp_url), ("STORAGE_URL", config.storage_url)):
            if (url or "").startswith("file:"):
                warnings.append(f"{name} is a file: URL, and this platform's disk is lost at every restart")
    return warnings


def _import(module: str, source: str) -> None:
    _importing.append(module)
    try:
        importlib.import_module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        # Whatever a team's own file raises while it is read, the process stops with one line that names it.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{source}: {module} cannot be imported: {reason}") from error
    finally:
        _importing.pop()


__all__ = ["Check", "Handler", "Kind", "ValidationError", "kind", "load_kinds", "warn_missing"]
