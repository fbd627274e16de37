"""Haulier: durable background jobs over HTTP, on the Postgres you already run. The library, which knows no Flask.

`from haulier import Client` calls a Haulier; the other parts are imported from their modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haulier.client import Client, HaulierError

__all__ = ["Client", "HaulierError"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: the worker and the API do without.
    if name in __all__:
        return getattr(import_module("haulier.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
