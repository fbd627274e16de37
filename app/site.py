"""The whole application: the API, and the dashboard if that is there and wanted."""

from __future__ import annotations

from importlib.util import find_spec

from haulier.config import Config

from . import api
from .http.application import App, make


def build(config: Config) -> App:
    """Return the application. Raises: ConfigError for a kind that cannot be loaded."""
    if config.dashboard == "off" or find_spec(f"{__package__}.web") is None:
        return api.build(config)
    from . import web

    return make(config, api.register, web.register)
