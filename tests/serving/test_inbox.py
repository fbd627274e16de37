"""What has come of a request: it ..."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.api.batch import MAX_BATCH_BYTES
from app.api.reading import MAX_BODY_BYTES
from app.serving import inbox as module
from app.serving.inbox import BATCH_BYTES, BODY_BYTES, HEAD_BYTES, Inbox, Stage

GET = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def fed(data: bytes) -> tuple[Inbox, Stage]:
    """Return an inbox that has received the data."""
    inbox = Inbox()
    inbox._data += data
    return inbox, inbox.look()


def read(inbox: Inbox) -> bytes:
    """Return what gunicorn would read."""
    return b"".join(iter(lambda: inbox.read(), b""))


WHOLE = {
    "without a body": GET,
    "with a length": POST + b"Content-Length: 5\r\n\r\nhello",
    "with a length of nothing": POST + b"content-length:0\r\n\r\n",
    "with a length in capitals": POST + b"CONTENT-LENGTH: \t3 \r\n\r\nabc",
    "with chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "with chunks in capitals": POST + b"TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "with chunks and their extensions": POST + b'Transfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n0;x\r\n\r\n',
    "with trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n0\r\nX: y\r\nZ: 0\r\n\r\n",
    "with a body that looks like chunks": POST + b"Content-Length: 10\r\n\r\n0\r\n\r\n0\r\n\r\n",
    "with a header named in another": POST + b"X: content-length: 7\r\n\r\n",
}


@pytest.mark.parametrize("request_", WHOLE.values(), ids=WHOLE)
def test_is_whole_at_its_last_byte_and_not_before(request_: bytes) -> None:
    inbox, stages = Inbox(), []
    for byte in request_:
        inbox._data.append(byte)
        stages.append(inbox.look())

    assert set(stages[:-1]) <= {Stage.HEAD, Stage.BODY}
    assert stages[-1] is Stage.WHOLE
    assert read(inbox) == request_


@pytest.mark.parametrize("request_", WHOLE.values(), ids=WHOLE)
def test_is_whole_when_it_comes_at_once_with_the_next_one_behind_it(request_: bytes) -> None:
    inbox, stage = fed(request_ + GET)

    assert stage is Stage.WHOLE
    taken = inbox.read(len(request_))
    inbox.begin()

    assert taken == request_
    assert inbox.has_more
    assert inbox.look() is Stage.WHOLE
    assert read(inbox) == GET
    assert not inbox.has_more


CUT = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: 5, 5\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length that is too long": POST + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES + 1),
    "a batch that is too long": b"POST /jobs/batch HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BATCH_BYTES + 1),
    "lines without a carriage return": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "an empty line without one": b"GET / HTTP/1.1\r\nHost: localhost\n\r\n",
    "a chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk that goes on": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "a chunk without end": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 9000,
    "too many chunks": POST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 16
    + b"1\r\n ",
}


@pytest.mark.parametrize("request_", CUT.values(), ids=CUT)
def test_does_not_wait_for_what_is_refused_anyway(request_: bytes) -> None:
    _, stage = fed(request_)

    assert stage is Stage.CUT


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: %d\r\n\r\n" % BODY_BYTES,
        b"POST /jobs/batch HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % BATCH_BYTES,
        b"POST /jobs/batch?atomic=false HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % BATCH_BYTES,
        POST + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n",
    ],
)
def test_waits_for_the_longest_that_is_taken(request_: bytes) -> None:
    _, stage = fed(request_)

    assert stage is Stage.BODY


def test_takes_tiny_chunks_up_to_twice_the_longest_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_BYTES", 100)
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"

    stages = [fed(head + b"1\r\nx\r\n" * count)[1] for count in (30, 60)]

    assert stages == [Stage.BODY, Stage.CUT]


def test_a_head_has_an_end() -> None:
    stages = [fed(b"GET / HTTP/1.1\r\nX: " + b"x" * length)[1] for length in (HEAD_BYTES - 100, HEAD_BYTES)]

    assert stages == [Stage.HEAD, Stage.HEAD_TOO_LONG]


def test_its_limits_are_those_of_the_application() -> None:
    assert (BODY_BYTES, BATCH_BYTES) == (MAX_BODY_BYTES, MAX_BATCH_BYTES)


def test_reads_what_is_there_and_never_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    inbox = Inbox()

    stages = [inbox.receive(ours)]
    theirs.sendall(GET[:9])
    stages.append(inbox.receive(ours))
    theirs.sendall(GET[9:])
    stages.append(inbox.receive(ours))

    assert stages == [Stage.EMPTY, Stage.HEAD, Stage.WHOLE]
    assert read(inbox) == GET


@pytest.mark.parametrize("sent", [b"GET /jobs HT", POST + b"Content-Length: 5\r\n\r\nhel"])
def test_a_client_that_has_left_is_not_waited_for(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    ours, theirs = pair
    inbox = Inbox()
    theirs.sendall(sent)
    theirs.close()

    inbox.receive(ours)
    stage = inbox.receive(ours)

    assert stage is Stage.CUT
    assert not inbox.is_over


def test_a_client_that_has_left_without_a_word_is_over(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    inbox = Inbox()

    inbox.receive(ours)

    assert inbox.is_over


def test_says_what_is_missing_of_a_body() -> None:
    inbox, _ = fed(POST + b"Content-Length: 100\r\n\r\nhello")

    assert inbox.missing == 95


def test_knows_who_waits_for_a_word_before_the_body() -> None:
    waiting, _ = fed(POST + b"Expect: 100-Continue\r\nContent-Length: 100\r\n\r\n")
    other, _ = fed(POST + b"Content-Length: 100\r\n\r\n")

    assert (waiting.expects_continue, other.expects_continue) == (True, False)
