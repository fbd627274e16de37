"""The files of a person: where they are, and how one is changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from haulier.cli.client.client_errors import Code, CommandError


def folder_in(variables: Mapping[str, str], name: str, otherwise: str) -> Path:
    """Return the folder of ours below the one that the variable names, or below the home directory."""
    given = variables.get(name)
    # A relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec
    base = Path(given) if given and os.path.isabs(given) else Path(variables.get("HOME", "/")) / otherwise
    return base / "haulier"


def replace(path: Path, text: str) -> None:
    """Replace the file by the text, whole or not at all, readable by nobody else. Raises: CommandError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # If it is a link, as in folders of dotfiles, it stays one.
        target = path.resolve()
        # mkstemp makes it 0600.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", Code.USAGE) from None
