"""The application for another web application, which mounts it under a path and brings the server."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from haulier.config import Config
from haulier.domain.errors import ConfigError
from haulier.version import version

from .http.application import App
from .site import build

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

# Links and cookies begin with it. Some servers take it from a header, which may name another host: //evil.example.
ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")


class Mount:
    """A WSGI application that builds Haulier at its first request in each process.

    So it can be imported before the environment is complete, and in a master that forks: processes never share a
    connection or a lock.
    """

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; a path outside of a valid mount with 404, every request with 503 if a setting is wrong."""
        if not ROOT.fullmatch(environ.get("SCRIPT_NAME", "")):
            return _refuse(start_response, "404 Not Found", "not_found", "no such path")
        try:
            app = self._app or self._build()
        except ConfigError as error:
            log.error("Haulier is mounted but cannot start: %s", error)
            return _refuse(start_response, "503 Service Unavailable", "unavailable", "a setting is wrong: see the log")
        return app(environ, start_response)

    def _forget(self) -> None:
        self._app: App | None = None
        self._lock = threading.Lock()

    def _build(self) -> App:
        with self._lock:
            if self._app is None:
                self._app = build(config := replace(Config.from_env(), is_mounted=True))
                threads = config.web_threads
                log.info("Haulier %s is mounted: at most %d connections in this process", version(), threads)
                if config.auth == "off":
                    log.warning("AUTH=off: anyone who can reach the mount may enqueue, read and cancel jobs")
            return self._app


def _refuse(start_response: StartResponse, status: str, slug: str, message: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps({"error": slug, "message": message}).encode()]


application = Mount()
