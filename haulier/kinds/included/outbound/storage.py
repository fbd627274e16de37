"""Stores the files that kinds make, at STORAGE_URL: in a folder of this machine, or wherever fsspec reaches."""

from __future__ import annotations

import importlib
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from haulier.domain.errors import ConfigError
from haulier.kinds.included.outbound.files import local_path, write_whole
from haulier.kinds.sdk.endings import Fail, Retry


def check_storage(url: str) -> None:
    """Return if STORAGE_URL can be used. Raises: ConfigError."""
    if url.startswith("file:"):
        storage_root(url)
    elif "://" not in url:
        raise ConfigError("STORAGE_URL must be a URL such as file:///var/haulier or s3://bucket/folder")


def storage_root(url: str) -> Path | None:
    """Return the folder of a file: URL, or None if the storage is elsewhere. Raises: ConfigError."""
    if not url.startswith("file:"):
        return None
    try:
        return local_path(url).absolute()
    except ValueError:
        raise ConfigError(
            "STORAGE_URL: a file: URL must name a folder of this machine, as file:///var/haulier"
        ) from None


def store(url: str, name: str, content: bytes) -> str:
    """Store the content under this name, replacing that of an earlier attempt, and return its URL.

    Raises: Fail if the storage's package is absent, Retry if the storage does not take the content.
    """
    root = storage_root(url)
    if root is not None:
        try:
            # Readable by all: the files are there to be served by a web server, which runs under another account.
            write_whole(root / name, content, mode=0o644)
        except OSError as error:
            raise Retry(f"STORAGE_URL: cannot write: {error.strerror}") from error
        return (root / name).as_uri()

    location = f"{url.rstrip('/')}/{name}"
    try:
        # Imported here, so that only a worker that uses fsspec loads it.
        fsspec = importlib.import_module("fsspec")
        filesystem, path = fsspec.core.url_to_fs(location)
        filesystem.pipe_file(path, content)
    except ImportError as error:
        raise Fail(f"STORAGE_URL: {urlsplit(url).scheme}:// cannot be used: {error}") from error
    except ValueError as error:
        raise Fail(f"STORAGE_URL: {urlsplit(url).scheme}:// cannot be used") from error
    except Exception as error:
        # Each storage has its own types of errors; their text may quote the request, and with it a key.
        raise Retry(f"STORAGE_URL: cannot write: {type(error).__name__}") from error
    return without_secrets(location)


def without_secrets(url: str) -> str:
    """Return the URL without user, password, query and fragment, so that it may be shown."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
