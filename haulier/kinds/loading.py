"""Loads the kinds of job that this process knows."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from haulier.config import Config
from haulier.kinds.included.outbound.addresses import guard
from haulier.kinds.sdk.middleware import Middleware
from haulier.kinds.sdk.registry import Kind, import_function, import_kind, import_module, known
from haulier.kinds.sdk.simulated import simulate


def load_kinds(config: Config) -> dict[str, Kind]:
    """Return all kinds by name: the included ones, and those of the modules that HAULIER_KINDS names.

    Raises:
        ConfigError: A module cannot be imported, or a setting of a kind is wrong.
    """
    # Before the kinds, whose modules may need what it sets up, such as Django.
    middleware = import_middleware(config)
    for found in pkgutil.iter_modules([str(Path(__file__).parent / "included")]):
        import_module(f"haulier.kinds.included.{found.name}", "haulier/kinds/included")
    for module in config.kinds:
        import_module(module, "HAULIER_KINDS")
    kinds = known()
    if config.executor == "simulated":
        return {name: simulate(real) for name, real in kinds.items()}
    for name, each in kinds.items():
        # The process of resize_image has neither the settings that a team's modules may need, nor memory for them.
        if not (each.isolated and _is_included(each.module)):
            kinds[name] = replace(each, middleware=middleware)
    guard(config.outbound_allow_private)
    for each in kinds.values():
        if each.check is not None and not each.missing_settings(config):
            each.check(config)
    return kinds


def import_isolated(module: str, name: str, config: Config) -> Kind:
    """Return a kind for the process that runs only this kind's jobs. Raises: ConfigError."""
    middleware = () if _is_included(module) else import_middleware(config)
    return replace(import_kind(module, name), middleware=middleware)


def _is_included(module: str) -> bool:
    return module.startswith("haulier.kinds.included.")


def import_middleware(config: Config) -> tuple[Middleware, ...]:
    """Return the functions that HAULIER_MIDDLEWARE names. Raises: ConfigError."""
    return tuple(import_function(name, "HAULIER_MIDDLEWARE") for name in config.middleware)


def warn_missing(kinds: Iterable[Kind], config: Config) -> list[str]:
    """Return warnings to log at start: kinds that lack a setting, and files on a disk that is lost at a restart."""
    warnings: list[str] = []
    for each in kinds:
        if missing := each.missing_settings(config):
            warnings.append(f"{' and '.join(missing)} not set: every {each.name} job will fail")
        elif each.check is not None and (warning := each.check(config)):
            warnings.append(warning)
    if config.ephemeral_disk and config.executor == "real":
        for name, url in (("SMTP_URL", config.smtp_url), ("STORAGE_URL", config.storage_url)):
            if (url or "").startswith("file:"):
                warnings.append(f"{name} is a file: URL, but the disk of this platform is lost at every restart")
    return warnings
