"""Logging, the same for the web and the worker: each record goes to stdout, as text or as a line of JSON.

A record is at most 8 KB long, is flushed at once, and names what it belongs to: the request, or the job's id, kind and
attempt. These fields come from `extra={"job_id": …}` of the call, or from `bound(request_id=…)` around it. A record
that stdout does not take is dropped and counted.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

from haulier.log_stream import stream_of, take_over

MAX_BYTES = 8192
LOST = "%d writes to this log were lost: the disk was full, or the reader was too slow"
FIELDS = ("request_id", "api_key", "peer", "job_id", "kind", "attempt")

Fields = dict[str, object]
_bound: ContextVar[Fields | Callable[[], Fields] | None] = ContextVar("haulier_log_fields", default=None)

# Of every record of this process.
_of_process: dict[str, int] = {}

# What no record of this thread may hold, and no text that it masks; the longest first.
_hidden: ContextVar[tuple[str, ...]] = ContextVar("haulier_log_hidden", default=())
MASK = "•••"

# Made once: json.dumps makes an encoder for each call that has options.
_write = json.JSONEncoder(ensure_ascii=False, default=str).encode

# Characters that begin a new line or move the cursor in the reader's terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A password may hold an @ that is not encoded, so it ends at the last @ before a space or a quote.
_PASSWORD = re.compile(r"(://[^:/?#\s]*:)[^\s\"']{1,256}@|((?<![a-z])password=)[^\s&\"']+", re.IGNORECASE)


def setup(log_format: str, level: str, stream: TextIO | None = None, *, cell: int | None = None) -> None:
    """Send every record from this level on to stdout, as "text" or "json". Safe to call again."""
    name_cell(cell)
    if stream is None:
        take_over()
        stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # A character that the stream's encoding lacks must not cost the record.
        stream.reconfigure(errors="backslashreplace")
    handler = _Handler(stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)


class _Handler(logging.StreamHandler[TextIO]):
    """Says, once a record gets through again, how many were lost."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        stream = stream_of(self.stream)
        lost = 0 if stream is None else stream.lost
        super().emit(record)
        if stream is not None and stream.lost == lost > 0:
            super().emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, LOST, (lost,), None))
            # Otherwise this line is lost too, and is said with the next.
            if stream.lost == lost:
                stream.lost = 0


def let_go() -> None:
    """Write out what is buffered, or drop it: Python flushes at its end, and a full disk would be its exit code."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):
            # As Python has it if there is none.
            setattr(sys, name, None)


def name_cell(cell: int | None) -> None:
    """Give every record of this process its cell, if the database is one."""
    if cell:
        _of_process["cell"] = cell


def named_cell() -> int | None:
    """Return the cell that every record of this process has."""
    return _of_process.get("cell")


class bound:
    """Give every record of this thread these fields, until the block ends. By @contextmanager it takes longer."""

    __slots__ = ("_fields", "_token")

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _bound.set(self._fields)

    def __exit__(self, *_: object) -> None:
        unbind(self._token)


def bind_to(fields: Callable[[], Fields]) -> Token[Fields | Callable[[], Fields] | None]:
    """Give every record of this thread the fields that the function returns at that moment, until `unbind`."""
    return _bound.set(fields)


def unbind(token: Token[Fields | Callable[[], Fields] | None]) -> None:
    """Give this thread's records the fields that they had before."""
    _bound.reset(token)


@contextmanager
def hidden(texts: tuple[str, ...]) -> Iterator[None]:
    """Mask these texts in every record of this thread, and in what `redacted` returns to it, until the block ends."""
    token = _hidden.set(texts)
    try:
        yield
    finally:
        _hidden.reset(token)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of the record; those of the call itself take precedence over those that are bound."""
    bound_now = _bound.get() or {}
    around = bound_now() if callable(bound_now) else bound_now
    own = {name: value for name in FIELDS if (value := getattr(record, name, around.get(name))) is not None}
    return {**own, **_of_process}


class TextFormatter(logging.Formatter):
    """`2026-11-24T09:30:00.123Z INFO app.api: GET /jobs 200 in 3 ms request_id=…`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and its traceback as further lines that begin with spaces."""
        belongs = "".join(f" {name}={_shown(_short(value))}" for name, value in fields_of(record).items())
        head = f"{_time(record)} {record.levelname} {record.name}: "
        line = head + _cut(_shown(_cut(_message(record), 4000)), 4000) + belongs
        trace = _traceback(record)
        if trace:
            room = MAX_BYTES - 16 - len(line.encode("utf-8", "backslashreplace"))
            line += "\n" + _cut_front("\n".join("    " + _shown(each) for each in trace.splitlines()), max(room, 0))
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        message, trace = _message(record), _traceback(record)
        line = ""
        # How much longer escapes make the text is known only after writing it.
        for room in (MAX_BYTES, 3800, 1200, 400):
            shown: dict[str, object] = {
                "time": _time(record),
                "level": record.levelname,
                "logger": record.name,
                "message": _cut(message, room),
                **{name: _short(value) for name, value in fields_of(record).items()},
            }
            if trace:
                shown["traceback"] = _cut_front(trace, room)
            line = _write(shown)
            if len(line.encode("utf-8", "backslashreplace")) < MAX_BYTES:
                break
        return line


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.created % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError):
        message = f"{record.msg} {record.args}"
    return redacted(message)


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return redacted(logging.Formatter().formatException(record.exc_info))


def redacted(text: str) -> str:
    """Return the text with the passwords of URLs and DSNs masked, and what is `hidden`: an error quotes what it got."""
    for each in _hidden.get():
        text = text.replace(each, MASK)
    if "://" not in text and "assword=" not in text:
        return text
    return _PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


def _short(value: object) -> object:
    return value if isinstance(value, int) else _cut(str(value), 200)


def _shown(value: object) -> str:
    text = str(value)
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _cut(text: str, size: int) -> str:
    """Return the text, or its first bytes up to this size and a mark that there was more."""
    # No character takes more than six bytes, escaped.
    if 6 * len(text) <= size:
        return text
    encoded = text.encode("utf-8", "backslashreplace")
    return text if len(encoded) <= size else encoded[:size].decode("utf-8", "ignore") + "…"


def _cut_front(text: str, size: int) -> str:
    """Return the text, or its last bytes up to this size: a traceback ends with what went wrong."""
    encoded = text.encode("utf-8", "backslashreplace")
    return text if len(encoded) <= size else "…" + encoded[len(encoded) - size :].decode("utf-8", "ignore")
