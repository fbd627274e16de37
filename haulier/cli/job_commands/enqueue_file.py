"""`haulier enqueue --file`: the jobs of a file, each stored once, however often the command is started."""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.lines import RUN, Reader, measure
from haulier.cli.client.notes import Note, Notes
from haulier.cli.client.sending import Outcome, outcomes
from haulier.cli.parts.invocation import Invocation
from haulier.cli.terminal.screen import Bar
from haulier.domain.errors import HaulierError

STDIN = "-"
MOST_SAID = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done with a file."""

    path: str
    batch: int
    run: str | None
    rejects: str | None
    from_start: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where lines come from. `digest`, size and lines are None if they can be read once only."""

    file: BinaryIO
    run: str
    digest: str | None = None
    size: int | None = None
    lines: int | None = None


def enqueue_file(invocation: Invocation, asked: Asked) -> Code:
    """Enqueue the jobs of a file, from where the start before has come; return the exit code. Raises: CommandError."""
    service = invocation.service
    with _opened(asked.path) as file:
        source = _source(invocation, file, asked)
        notes = Notes(invocation.variables, source.run, service.url)
        with notes.held():
            note = Note() if asked.from_start else notes.read()
            _check_apart(file, asked)
            with _rejects(asked.rejects, note, invocation) as rejects:
                return Sending(invocation, source, notes, note, rejects).run(asked.batch)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115  # it is closed below
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", Code.USAGE) from None
    with file:
        yield file


def _check_apart(file: BinaryIO, asked: Asked) -> None:
    """Return unless the rejects would be written over the jobs. Raises: click.UsageError."""
    if asked.path == STDIN or asked.rejects is None or not os.path.exists(asked.rejects):
        return
    if os.path.samestat(os.fstat(file.fileno()), os.stat(asked.rejects)):
        raise click.UsageError("--rejects and --file must be different files")


def _source(invocation: Invocation, file: BinaryIO, asked: Asked) -> Source:
    if asked.run is not None and not RUN.fullmatch(asked.run):
        raise click.UsageError("--run: must be 1 to 64 letters, digits, _, - and .")
    if asked.path == STDIN or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        run = asked.run or secrets.token_hex(8)
        if asked.run is None:
            invocation.terminal.warn(
                f"this is the run {run}: if it is interrupted, start again with --run {run} to continue"
            )
        return Source(file, run)
    digest, size, lines = measure(file)
    file.seek(0)
    return Source(file, asked.run or digest[:16], digest, size, lines)


@dataclass
class Sending:
    """One start of a run."""

    invocation: Invocation
    source: Source
    notes: Notes
    note: Note
    rejects: Rejects
    began: float = field(default_factory=time.monotonic)

    def run(self, batch: int) -> Code:
        """Send all lines that are left, and say what became of all. Raises: CommandError."""
        terminal, note = self.invocation.terminal, self.note
        reader = Reader(self.source.file, self.source.run, size=self.source.size)
        if note.lines:
            reader.skip(note.lines, note.digest)
            refused = f" ({note.refused:,} of them refused)" if note.refused else ""
            terminal.note(f"{note.lines:,} lines were sent before{refused}; continuing at line {note.lines + 1:,}")
        try:
            with Bar(terminal, "Enqueuing", self.source.lines) as bar:
                bar.at(note.lines)
                for done, found in outcomes(self.invocation.api, reader.batches(batch)):
                    self._take(found)
                    note.lines, note.digest = done.reached, done.digest
                    self.notes.write(note)
                    bar.at(note.lines)
        except (HaulierError, KeyboardInterrupt):
            terminal.warn(f"stopped at line {note.lines + 1:,}; run the same command to continue there{self._how()}")
            raise
        if self.source.digest not in (None, reader.digest):
            raise CommandError(f"the file changed while it was read; {note.lines:,} lines were sent")
        return self._summary(reader.number)

    def _how(self) -> str:
        return "" if self.source.digest else f", with --run {self.source.run}"

    def _take(self, found: list[Outcome]) -> None:
        note = self.note
        for each in found:
            note.stored += each.status == 201
            note.known += each.status == 200
            if each.is_refused:
                note.refused += 1
                self.rejects.add(each)
        note.rejects, note.rejects_bytes = self.rejects.kept()

    def _summary(self, lines: int) -> Code:
        terminal, note, seconds = self.invocation.terminal, self.note, time.monotonic() - self.began
        counts: dict[str, int] = {"lines": lines, "stored": note.stored, "known": note.known, "refused": note.refused}
        self.rejects.close()
        terminal.show(
            {"run": self.source.run, **counts, "seconds": round(seconds, 1)},
            lambda _: terminal.line(
                f"{note.jobs:,} lines: {note.stored:,} stored, {note.known:,} known before, {note.refused:,} refused,"
                f" in {seconds:.1f} s"
            ),
        )
        return Code.IN_PART if note.refused else Code.DONE


class Rejects:
    """Lines that were refused, with the reason: in a file, or the first on stderr."""

    def __init__(self, invocation: Invocation, path: str | None, file: BinaryIO | None) -> None:
        self._terminal, self._path, self._file = invocation.terminal, path, file
        self._refused = 0

    def add(self, outcome: Outcome) -> None:
        """Keep a line."""
        self._refused += 1
        reason: dict[str, Any] = {
            name: outcome.answer[name] for name in ("error", "message", "details") if name in outcome.answer
        }
        if self._file is not None:
            entry = {"line": outcome.line.number, **reason, "job": _job(outcome.line.text)}
            self._file.write(f"{json.dumps(entry)}\n".encode())
        elif self._refused <= MOST_SAID:
            self._terminal.warn(f"line {outcome.line.number:,} was refused: {reason.get('message')}")

    def kept(self) -> tuple[str, int]:
        """Return the file and how long it is, once all of it is written."""
        if self._file is None or self._path is None:
            return "", 0
        self._file.flush()
        return os.path.abspath(self._path), self._file.tell()

    def close(self) -> None:
        """Say how many were not shown."""
        if self._file is None and self._refused > MOST_SAID:
            self._terminal.warn(
                f"{self._refused - MOST_SAID:,} more lines were refused: use --rejects FILE to keep all of them"
            )


def _job(text: bytes) -> Any:
    """Return the line as JSON if it is that, so that it can be corrected and sent again."""
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError):
        return text.decode(errors="replace")


@contextmanager
def _rejects(path: str | None, note: Note, invocation: Invocation) -> Iterator[Rejects]:
    with nullcontext() if path is None else _appended(path, note) as file:
        yield Rejects(invocation, path, file)


@contextmanager
def _appended(path: str, note: Note) -> Iterator[BinaryIO]:
    """Give the file, of which what was written after the note is cut off: those lines are sent again."""
    is_known = note.lines > 0 and os.path.abspath(path) == note.rejects
    try:
        # It has what jobs are given, which is not for others to read.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        file = open(handle, "wb")  # noqa: SIM115  # it is closed below
        file.truncate(min(note.rejects_bytes, os.fstat(handle).st_size) if is_known else 0)
        file.seek(0, os.SEEK_END)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", Code.USAGE) from None
    with file:
        yield file
