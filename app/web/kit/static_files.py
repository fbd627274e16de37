"""The dashboard's own files, which are read once: style, scripts, and one script of others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from ...http.routes import Entry, needs

FOLDER = Path(__file__).parents[1] / "static"
ENDPOINT = "ui.static_file"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# A changed file has another URL, so keep it for ever; for an hour if the URL has no hash.
FOR_EVER, FOR_AN_HOUR, NOT_AT_ALL = "public, max-age=31536000, immutable", "public, max-age=3600", "no-store"


@dataclass(frozen=True, slots=True)
class File:
    """A file. `version` is the start of its SHA-256."""

    content: bytes
    content_type: str
    version: str


@cache
def files() -> Mapping[str, File]:
    """Return the served files by path."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            content = path.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:8]
            kind = f"{TYPES[path.suffix]}; charset=utf-8"
            found[path.relative_to(FOLDER).as_posix()] = File(content, kind, version)
    return found


def address(name: str) -> str:
    """Return the URL of a file, which changes with its content."""
    return url_for(ENDPOINT, name=name, v=files()[name].version)


def register(ui: Blueprint) -> None:
    """Serve the files."""
    ui.add_url_rule("/static/<path:name>", "static_file", _serve)


@needs(Entry.ANYONE, quiet=True)
def _serve(name: str) -> Response:
    file = files().get(name)
    if file is None:
        raise NotFound
    version = request.args.get("v")
    keep = FOR_AN_HOUR if version is None else FOR_EVER if version == file.version else NOT_AT_ALL
    # During a deploy, a page of the next release may ask this process for a file that it does not have yet.
    return Response(file.content, content_type=file.content_type, headers={"Cache-Control": keep})
