"""The lines of a file of jobs: read as they come, each with an idempotency key, in batches."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from haulier.cli.client.client_errors import CommandError

# What the service takes: of one job, and of a batch, whose limit is 16 MiB.
LONGEST, MOST_BYTES = 1024 * 1024, 15 * 1024 * 1024
PIECE = 1024 * 1024
RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line with a job. `sent` is the request with a key, text the line as it was; fault is why it is none."""

    number: int
    text: bytes
    sent: bytes
    fault: str | None = None


@dataclass(slots=True)
class Batch:
    """Lines that are sent at once. `reached` counts all lines up to its end, whose hash is digest."""

    lines: list[Line] = field(default_factory=list)
    reached: int = 0
    digest: str = ""

    @property
    def to_send(self) -> list[Line]:
        """Return the lines that can be sent."""
        return [line for line in self.lines if line.fault is None]


def measure(file: BinaryIO) -> tuple[str, int, int]:
    """Return the hash of the file, how many bytes and how many lines it has."""
    digest, size, lines, last = hashlib.sha256(), 0, 0, b"\n"
    while piece := file.read(PIECE):
        digest.update(piece)
        size, lines, last = size + len(piece), lines + piece.count(b"\n"), piece
    return digest.hexdigest(), size, lines + (not last.endswith(b"\n"))


class Reader:
    """Reads lines, a given number of bytes at a time. `number` counts the lines read, digest covers all of them."""

    def __init__(self, file: BinaryIO, run: str, *, size: int | None = None) -> None:
        self._file, self._run, self._left = file, run, size
        self._digest = hashlib.sha256()
        self.number = 0

    @property
    def digest(self) -> str:
        """Return the hash of what was read."""
        return self._digest.hexdigest()

    def skip(self, lines: int, digest: str) -> None:
        """Pass over the lines that were stored before. Raises: CommandError if they are not the same."""
        while self.number < lines and self._read() is not None:
            pass
        if self.number < lines or self.digest != digest:
            raise CommandError(
                f"the first {lines:,} lines differ from those sent before as the run {self._run}: use another"
                " --run, or --from-start to send all lines again"
            )

    def batches(self, most: int) -> Iterator[Batch]:
        """Yield the lines that are left, this many at once at most."""
        batch, size = Batch(), 0
        for line in self._lines():
            if len(batch.lines) == most or size + len(line.sent) > MOST_BYTES:
                yield batch
                batch, size = Batch(), 0
            batch.lines.append(line)
            batch.reached, batch.digest = self.number, self.digest
            size += len(line.sent) + 1
        # Blank lines at the end count as read.
        batch.reached, batch.digest = self.number, self.digest
        if batch.lines:
            yield batch

    def _lines(self) -> Iterator[Line]:
        while (found := self._read()) is not None:
            text, is_cut = found
            if self.number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text.strip():
                yield self._with_key(text.strip(), is_cut=is_cut)

    def _with_key(self, text: bytes, *, is_cut: bool) -> Line:
        if is_cut or len(text) > LONGEST:
            return Line(self.number, text[:LONGEST], b"", f"is longer than {LONGEST:,} bytes")
        try:
            return Line(self.number, text, keyed(text, f"{self._run}:{self.number}"))
        except (ValueError, RecursionError) as error:
            return Line(self.number, text, b"", f"is not a JSON object in UTF-8: {error}")

    def _read(self) -> tuple[bytes, bool] | None:
        """Return the next line, of which a very long one is cut, and whether it is."""
        line = self._piece()
        if not line:
            return None
        self.number += 1
        is_cut = not line.endswith(b"\n")
        while not line.endswith(b"\n") and (more := self._piece()):
            if more.endswith(b"\n"):
                return line, True
        return line, is_cut and len(line) > LONGEST

    def _piece(self) -> bytes:
        most = LONGEST + 2 if self._left is None else min(LONGEST + 2, self._left)
        piece = self._file.readline(most)
        self._digest.update(piece)
        if self._left is not None:
            self._left -= len(piece)
        return piece


def keyed(text: bytes, key: str) -> bytes:
    """Return the request with this idempotency key, unless it has one. Raises: ValueError; RecursionError."""
    request = json.loads(text.decode())
    if not isinstance(request, dict):
        raise ValueError("it is none")
    if request.get("idempotency_key") is not None:
        return text
    if "idempotency_key" in request:
        del request["idempotency_key"]
        text = json.dumps(request).encode()
    # Written into the text, so that the service judges all else as it was given: a key twice, a number too large.
    head, brace, rest = text.partition(b"{")
    return b"".join([head, brace, b'"idempotency_key":"', key.encode(), b'",' if request else b'"', rest])
