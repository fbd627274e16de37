"""The stream of the log: it ..."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from haulier import log_stream, logs
from haulier.log_stream import LogStream
from tests.conftest import eventually

# The least that a pipe holds, if that can be chosen.
PAGE = 4096


class Reader:
    def __init__(self, file: int, end: int) -> None:
        self.file, self.end = file, end
        os.set_blocking(file, False)

    def read(self) -> bytes:
        found = b""
        while True:
            try:
                more = os.read(self.file, 1 << 20)
            except BlockingIOError:
                return found
            if not more:
                return found
            found += more


@pytest.fixture(params=["pipe", "socket"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Give a reader of a small pipe, or of a socket."""
    if request.param == "pipe":
        ends = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PAGE)
    else:
        ends = tuple(each.detach() for each in socket.socketpair())
    yield Reader(*ends)
    for file in ends:
        os.close(file)


LINE = b"x" * 999 + b"\n"


def fill(stream: LogStream) -> int:
    """Write lines until one is lost, and return how many got through."""
    for count in range(10_000):
        stream.write(LINE)
        if stream.lost:
            return count
    raise AssertionError("nothing was lost")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "PATIENCE_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_drops_unread_lines_and_begins_a_new_line_once_it_is_read(reader):
    stream = LogStream(reader.end, "log")

    through = fill(stream)
    stream.write(LINE)

    assert stream.lost == 2
    before = reader.read()
    stream.write(b"read again\n")
    assert before.startswith(through * LINE)
    assert (before + reader.read()).endswith(b"\nread again\n")
    assert stream.lost == 2


def test_waits_for_one_who_reads_slowly(reader, monkeypatch):
    monkeypatch.setattr(log_stream, "PATIENCE_SECONDS", 60)
    stream, found, done = LogStream(reader.end, "log"), [], threading.Event()

    def write() -> None:
        for _ in range(200):
            stream.write(LINE)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: found.append(reader.read()) or done.is_set())
    thread.join()

    found.append(reader.read())
    assert (b"".join(found), stream.lost) == (200 * LINE, 0)


def test_waits_once_for_one_who_has_stopped(reader, monkeypatch):
    monkeypatch.setattr(log_stream, "PATIENCE_SECONDS", 0.5)
    stream = LogStream(reader.end, "log")
    fill(stream)
    began = time.monotonic()

    for _ in range(1000):
        stream.write(LINE)

    # Each by itself would take 500 s.
    assert time.monotonic() - began < 60
    assert stream.lost == 1001


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a pipe be opened anew")
def test_leaves_a_pipe_that_others_write_to_as_it_is():
    ends = os.pipe()

    LogStream(ends[1], "log").write(LINE)

    assert os.get_blocking(ends[1])
    assert os.read(ends[0], PAGE) == LINE
    for file in ends:
        os.close(file)


@pytest.fixture(params=[errno.ENOSPC, errno.EPIPE])
def refusing(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give a file that refuses each write: a full disk, and a pipe without a reader."""
    if request.param == errno.ENOSPC:
        file = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, file = os.pipe()
        os.close(reader)
    yield file
    os.close(file)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no full disk")
def test_drops_what_is_refused(refusing):
    stream = LogStream(refusing, "log")

    assert [stream.write(LINE), stream.write(LINE)] == [1000, 1000]

    assert stream.lost == 2


@pytest.fixture
def log_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Give a function that has the log, and what is printed, go to a file; to be called in the test itself."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def log_to(file: int) -> None:
        stdout = os.fdopen(file, "w", encoding="utf-8", closefd=False)
        for name in ("stdout", "__stdout__"):
            monkeypatch.setattr(sys, name, stdout)
        logs.setup("text", "INFO")

    yield log_to
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


@pytest.mark.usefixtures("impatient")
def test_says_how_many_were_lost_and_only_once(reader, log_to):
    log = logging.getLogger("haulier.test")
    log_to(reader.end)
    fill(log_stream.stream_of(sys.stdout))
    log.info("x" * 2000)
    print("x" * 2000)
    reader.read()

    log.info("read again")
    log.info("and on")

    said = [line.partition(" ")[2] for line in reader.read().decode().splitlines() if line.strip("x")]
    assert said == [
        "INFO haulier.test: read again",
        "WARNING haulier.logs: 3 writes to this log were lost: the disk was full, or the reader was too slow",
        "INFO haulier.test: and on",
    ]
