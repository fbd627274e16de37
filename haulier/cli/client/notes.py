"""How far the jobs of a file have been stored: a note, from which the next start continues."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from haulier.cli.client.client_errors import CommandError
from haulier.cli.client.files import folder_in, replace


@dataclass(slots=True)
class Note:
    """How far a run has come. `lines` counts those that were answered, whose hash is digest; rejects is a file."""

    lines: int = 0
    digest: str = ""
    stored: int = 0
    known: int = 0
    refused: int = 0
    rejects: str = ""
    rejects_bytes: int = 0

    @property
    def jobs(self) -> int:
        """Return how many lines with a job were answered."""
        return self.stored + self.known + self.refused


class Notes:
    """The notes of one run, one for each service: what one has stored, another has not."""

    def __init__(self, variables: Mapping[str, str], run: str, url: str) -> None:
        self._path = folder_in(variables, "XDG_STATE_HOME", ".local/state") / "runs" / f"{run}.json"
        self._run, self._url = run, url

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from sending the same run, until left. Raises: CommandError."""
        lock = self._path.with_suffix(".lock")
        try:
            lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = lock.open("w")
        except OSError as error:
            raise CommandError(f"cannot write {lock}: {error.strerror}") from None
        with file:
            try:
                # The kernel lets it go however this process ends.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CommandError(f"another process is sending the run {self._run}") from None
            yield

    def read(self) -> Note:
        """Return the note; an empty one if there is none that can be read, and then all is sent again."""
        try:
            kept = self._all()[self._url]
            note = Note(**kept)
        except (KeyError, TypeError):
            return Note()
        types = {"str": str, "int": int}
        is_good = all(isinstance(getattr(note, each.name), types[str(each.type)]) for each in fields(note))
        return note if is_good else Note()

    def write(self, note: Note) -> None:
        """Keep how far it has come. Raises: CommandError."""
        replace(self._path, json.dumps({**self._all(), self._url: asdict(note)}))

    def _all(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}
