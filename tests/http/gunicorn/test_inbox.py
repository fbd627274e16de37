"""What has come of a request; and large requests, which wait for each other while small ones do not: it ..."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
import requests
from gunicorn.config import Config
from gunicorn.http import errors
from psycopg2.extensions import connection as Connection

from app.http.gunicorn import incoming as module
from app.http.gunicorn.inbox import HEAD_BYTES, MOST_CHUNKS, Stage
from app.http.gunicorn.incoming import BODY_BYTES, Incoming
from app.http.gunicorn.large import MOST_BYTES, WAIT_SECONDS, Large
from haulier.postgres.connection import connect
from tests.conftest import eventually
from tests.web import gunicorn

GET = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Of /jobs/batch.
BATCH_BYTES = 16 * BODY_BYTES
# What gunicorn answers with 4xx.
REFUSALS = errors.ParseException
POST = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\n"


def incoming() -> Incoming:
    """Return the requests of a connection on which nothing has come yet."""
    return Incoming(Config(), ("127.0.0.1", 1), {("POST", "/jobs/batch"): BATCH_BYTES})


def fed(data: bytes) -> tuple[Incoming, Stage]:
    """Return the requests of a connection on which the data has come."""
    requests = incoming()
    requests.inbox._data += data
    return requests, requests.advance()


def received(requests: Incoming, ours: socket.socket) -> Stage:
    """Take what is there, as the worker does."""
    requests.inbox.receive(ours)
    return requests.advance()


CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# Each with the body that it has.
WHOLE = {
    "without a body": (GET, b""),
    "with a length": (POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "with a length of nothing": (POST + b"content-length:0\r\n\r\n", b""),
    "with a length in capitals": (POST + b"CONTENT-LENGTH: \t3 \r\n\r\nabc", b"abc"),
    "with chunks": (CHUNKS + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "with chunks in capitals": (
        POST + b"TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
    ),
    "with chunks and their extensions": (CHUNKS + b'5;a="b"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    "with trailers": (CHUNKS + b"1\r\n0\r\n0\r\nX: y\r\nZ: 0\r\n\r\n", b"0"),
    "with a body like chunks": (POST + b"Content-Length: 10\r\n\r\n" + b"0\r\n\r\n" * 2, b"0\r\n\r\n" * 2),
    "with a header named in another": (POST + b"X: content-length: 7\r\n\r\n", b""),
    "behind an empty line": (b"\r\n" + GET, b""),
}


def test_is_whole_at_its_last_byte_and_not_before() -> None:
    for name, (sent, body) in WHOLE.items():
        requests, stages = incoming(), []
        for byte in sent:
            requests.inbox._data.append(byte)
            stages.append(requests.advance())

        assert set(stages[:-1]) <= {Stage.HEAD, Stage.BODY}, name
        assert (stages[-1], next(requests).body.read()) == (Stage.WHOLE, body), name


def test_is_whole_when_it_comes_together_with_the_next_one() -> None:
    for name, (sent, body) in WHOLE.items():
        requests, stage = fed(sent + GET)
        first = next(requests)
        requests.inbox.begin()

        assert (stage, first.body.read()) == (Stage.WHOLE, body), name
        assert requests.inbox.has_more
        assert requests.advance() is Stage.WHOLE
        assert (next(requests).method, len(requests.inbox)) == ("GET", 0)


CUT = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: 5, 5\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length that is too long": POST + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES + 1),
    "a batch that is too long": b"POST /jobs/batch HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BATCH_BYTES + 1),
    "lines without a carriage return": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "an empty line without one": b"GET / HTTP/1.1\r\nHost: localhost\n\r\n",
    "a chunk of no number": CHUNKS + b"xyz\r\n",
    "a chunk that goes on": CHUNKS + b"1\r\nabc\r\n",
    "a chunk without end": CHUNKS + b"f" * 9000,
    "too many chunks": CHUNKS + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 16 + b"1\r\n ",
}


def test_does_not_wait_for_what_is_refused_anyway() -> None:
    for name, sent in CUT.items():
        requests, stage = fed(sent)

        assert stage is Stage.CUT, name
        with suppress(REFUSALS):
            assert next(requests).should_close(), name


def test_waits_for_the_longest_that_is_taken() -> None:
    batch = b"POST /jobs/batch%b HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    longest = [POST + b"Content-Length: %d\r\n\r\n" % BODY_BYTES, CHUNKS + b"100000\r\n"]
    longest += [batch % (query, BATCH_BYTES) for query in (b"", b"?atomic=false")]

    assert [fed(sent)[1] for sent in longest] == [Stage.BODY] * 4


def test_takes_tiny_chunks_up_to_a_number_and_twice_the_longest_body(monkeypatch: pytest.MonkeyPatch) -> None:
    def stages(*counts: int) -> list[Stage]:
        return [fed(CHUNKS + b"1\r\nx\r\n" * count)[1] for count in counts]

    assert stages(MOST_CHUNKS, MOST_CHUNKS + 1) == [Stage.BODY, Stage.CUT]
    monkeypatch.setattr(module, "BODY_BYTES", 100)
    assert stages(30, 60) == [Stage.BODY, Stage.CUT]


def test_a_head_has_an_end() -> None:
    lines = b"X: %b\r\n" % (b"x" * 4000)
    for end in (b"", b"\r\n\r\n"):
        room = HEAD_BYTES - len(GET) - len(end) - 15 * len(lines) - 3

        stages = [fed(GET[:-2] + lines * 15 + b"Y: " + b"y" * (room + more) + end)[1] for more in (-10, 10)]

        assert stages == [Stage.WHOLE if end else Stage.HEAD, Stage.HEAD_TOO_LONG]


def test_reads_what_is_there_and_never_waits() -> None:
    requests, stages = incoming(), []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for sent in (b"", GET[:9], GET[9:]):
            theirs.sendall(sent)
            stages.append(received(requests, ours))

    assert stages == [Stage.EMPTY, Stage.HEAD, Stage.WHOLE]
    assert next(requests).path == "/jobs"


def test_a_client_that_has_left_is_not_waited_for() -> None:
    for sent in (b"GET /jobs HT", POST + b"Content-Length: 5\r\n\r\nhel", b""):
        ours, theirs = socket.socketpair()
        with ours:
            requests = incoming()
            theirs.sendall(sent)
            theirs.close()

            received(requests, ours)
            stage = received(requests, ours)

        # Without a word there is nothing to cut.
        assert (stage is Stage.CUT, requests.inbox.is_over) == (bool(sent), not sent)


def test_knows_what_is_missing_and_who_waits_for_a_word_first() -> None:
    waiting, _ = fed(POST + b"Expect: 100-Continue\r\nContent-Length: 100\r\n\r\n")
    other, _ = fed(POST + b"Content-Length: 100\r\n\r\nhello")

    assert (waiting.inbox.expects_continue, other.inbox.expects_continue) == (True, False)
    assert (waiting.inbox.missing, other.inbox.missing) == (100, 95)


JOB = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "x" * 1000}}
LINE = json.dumps(JOB) + "\n"


def started(large: Large, *sizes: int) -> list[str]:
    """Add requests a, b, c, … of these sizes, each at most 100 long, and return those whose turn it is."""
    assert all(large.add(name, size, 100, 0.0) for name, size in zip("abcdef", sizes, strict=False))
    return large.start()


def followers(large: Large, *left: str) -> list[list[str]]:
    """Return who starts after each of these has left."""
    found = []
    for conn in left:
        large.leave(conn)
        found.append(large.start())
    return found


def test_large_requests_take_their_threads_and_the_others_follow_in_order():
    large = Large(2)

    assert started(large, 1, 1, 1, 1) == ["a", "b"]
    assert followers(large, "b", "x", "a", "c", "d") == [["c"], [], ["d"], [], []]


def test_those_at_work_are_together_no_longer_than_the_longest_request():
    large = Large(9)

    assert started(large, 40, 60, 1, 90, 10, 5) == ["a", "b"]
    # No small one overtakes the fourth.
    assert followers(large, "a", "b", "c", "d") == [["c"], ["d"], ["e"], ["f"]]

    # One that is longer than any may be works alone.
    large = Large(9)
    assert started(large, 101, 1) == ["a"]
    assert followers(large, "a") == [["b"]]


def test_a_batch_counts_by_the_longest_batch_a_job_by_the_longest_job():
    large = Large(9)

    for name, longest in (("batch", 1600), ("job", 100), ("late", 100)):
        large.add(name, 50, longest, 0.0)

    assert large.start() == ["batch", "job"]


def test_has_room_for_one_however_large_and_bounds_those_that_wait():
    large = Large(1)
    assert large.add("a", 2 * MOST_BYTES, 1, 0.0)
    assert large.start() == ["a"]

    assert large.add("b", MOST_BYTES - 1, 1, 0.0)

    assert not large.add("c", 2, 1, 0.0)
    assert large.add("d", 1, 1, 0.0)
    assert followers(large, "a") == [["b"]]
    assert large.add("e", 2, 1, 0.0)


def test_gives_up_those_that_have_waited_for_too_long():
    large = Large(1)
    assert started(large, 1) == ["a"]
    for name, now in (("b", 0.0), ("c", 5.0)):
        assert large.add(name, MOST_BYTES // 2, MOST_BYTES, now)
    assert not large.add("d", 1, MOST_BYTES, 5.0)

    assert large.overdue(WAIT_SECONDS - 1) == []
    assert large.overdue(WAIT_SECONDS) == ["b"]
    assert followers(large, "a") == [["c"]]


@pytest.mark.parametrize(
    ("threads", "jobs"),
    [pytest.param("2", 1000, id="2 threads, in many"), pytest.param("4", 90, id="4 threads, in one piece")],
)
def test_small_requests_are_answered_while_large_ones_wait(
    database: str,
    direct: Callable[[str], str],
    conn: Connection,
    threads: str,
    jobs: int,
):
    def is_waited_for() -> bool:
        with conn.cursor() as cursor:
            cursor.execute("SELECT FROM pg_locks WHERE NOT granted AND relation = 'haulier.job'::regclass")
            return bool(cursor.fetchall())

    with (
        gunicorn(database, eventually, WEB_THREADS=threads, WEB_CONCURRENCY="1") as server,
        closing(connect(direct(database))) as holder,
        ThreadPoolExecutor(6) as senders,
    ):
        with holder.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE haulier.job IN EXCLUSIVE MODE")
            headers = {"Content-Type": "application/x-ndjson"}
            sent = [
                senders.submit(requests.post, f"{server.url}/jobs/batch", data=LINE * jobs, headers=headers, timeout=30)
                for _ in range(6)
            ]
            eventually(is_waited_for)

            small = requests.get(f"{server.url}/health/live", timeout=2)

            cursor.execute("COMMIT")
        assert small.status_code == 200
        assert {each.result().status_code for each in sent} <= {201, 503}
        assert 201 in {each.result().status_code for each in sent}
