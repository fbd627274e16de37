"""The decorator that registers a kind, and the kinds that are registered."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

from marshmallow import RAISE, Schema

from haulier.domain.errors import ConfigError
from haulier.domain.job import NAME_PATTERN
from haulier.domain.retry import RetryPolicy
from haulier.kinds.sdk.kind import Check, Handler, Kind

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
