"""Files that kinds read and write on this machine: whole or not at all, and never outside their folder."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from haulier.kinds.sdk.endings import Fail


def local_path(url: str) -> Path:
    """Return the path that a file: URL names; `file:var/x` is relative to the working folder. Raises: ValueError."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path or "\x00" in path:
        raise ValueError(f"{url!r} is not a file: URL on this machine")
    return Path(path)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write the file so that it appears complete or not at all, even after a power cut; its folder is made.

    `mode` is the file's permissions; the default is only its owner.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_inside(root: Path, url: str, limit: int) -> bytes:
    """Return the content at the file: URL, which is absolute or relative to the root, and must lie inside the root.

    Raises: Fail if the file is outside, absent, longer than the limit, not plain, or behind a symbolic link.
    """
    try:
        path = local_path(url)
    except ValueError:
        raise Fail("source: must be a file: URL on this machine") from None
    base = root.resolve()
    if path.is_absolute():
        path = next(
            (path.relative_to(each) for each in (root.absolute(), base) if path.is_relative_to(each)), Path("..")
        )
    if not path.parts or ".." in path.parts:
        raise Fail("source: the file is not inside STORAGE_URL")
    try:
        descriptor = _open_beneath(base, path.parts)
    except FileNotFoundError:
        raise Fail("source: there is no such file in STORAGE_URL") from None
    except OSError as error:
        # ELOOP or ENOTDIR: the path goes through a symbolic link, which may lead anywhere.
        raise Fail(f"source: the file cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Fail("source: must be a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Fail(f"source: more than {limit} bytes")
    return content


def _open_beneath(base: Path, parts: tuple[str, ...]) -> int:
    """Open step by step from the root, never through a link; after a check of the path somebody could put one in."""
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parts[:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # O_NONBLOCK: opening a named pipe would otherwise wait until somebody writes to it.
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
