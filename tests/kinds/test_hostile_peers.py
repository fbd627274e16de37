"""What hostile name servers, web servers and image files try, through the kinds that meet them."""

from __future__ import annotations

import gzip
import ipaddress
import re
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from PIL import Image

from haulier.kinds import Fail, Retry
from haulier.kinds.included.outbound.addresses import guard
from tests.kinds.hostile_images import chunk, png_with
from tests.kinds.kinds_tools import SOON, error_of, fetch, run
from tests.kinds.pictures import saved

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """Fail if Python's objects take more than that at any time within the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


def calls_to(url: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("webhook_delivery", {"url": url, "body": 1}),
        ("resize_image", {"source": url}),
        ("resize_image", {"source": DOT, "target": url}),
    ]


def test_no_kind_reaches_a_private_address(receiver, tmp_path):
    for kind, payload in calls_to(receiver.url):
        with pytest.raises(Fail, match="127.0.0.1 is refused: it is a loopback address"):
            run(kind, payload, outbound_allow_private=(), storage_url=tmp_path.as_uri())

    assert receiver.connections == 0


def test_no_kind_asks_a_name_server_twice(receiver, resolves, tmp_path):
    for kind, payload in calls_to(f"http://rebind.example:{receiver.port}/a.png"):
        names = resolves(["127.0.0.2"], ["127.0.0.1"])

        with pytest.raises(Retry):
            run(kind, payload, outbound_allow_private=("127.0.0.2",), storage_url=tmp_path.as_uri())

        assert names == ["rebind.example"]
        assert receiver.connections == 0


def test_name_is_judged_anew_at_each_redirect(receiver, resolves):
    receiver.replies(302, Location="/next")
    names = resolves(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.7"])

    with pytest.raises(Fail, match="turning.example is refused: it resolves to a private address"):
        fetch(f"http://turning.example:{receiver.port}/")

    assert len(names) == 3
    assert receiver.connections == 2


def test_port_of_another_protocol_is_refused_unless_it_is_named(resolves):
    resolves(["8.8.8.8"])
    address = ipaddress.ip_address("8.8.8.8")

    for port in (22, 25, 110, 465, 587, 6667, 10080):
        with pytest.raises(Fail, match=f"mail.example is refused: port {port} belongs to another protocol"):
            fetch(f"http://mail.example:{port}/")
        assert guard((f"mail.example:{port}",)).permits("mail.example", port, address)
        assert guard((f"8.8.8.0/24:{port}",)).permits("mail.example", port, address)
        assert not guard((f"mail.example:{port + 1}",)).permits("mail.example", port, address)
    # Ports that are merely unusual.
    assert all(guard(()).permits("mail.example", port, address) for port in (80, 443, 3000, 8080, 8443, 49152))


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"O" * 60),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "a chunk's size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 60),
    "a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"x"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", b"x"),
    "a body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
}


def test_answer_that_drips_is_cut_off_at_the_time_limit(listen):
    over = threading.Event()

    def drip(sock: socket.socket, head: bytes, drop: bytes) -> None:
        sock.recv(65536)
        sock.sendall(head)
        while not over.wait(0.02):
            sock.sendall(drop)

    def fetched(what: str) -> tuple[str, float]:
        port, started = listen(lambda sock: drip(sock, *ENDLESS[what])), time.monotonic()
        return error_of(fetch, f"http://127.0.0.1:{port}/", seconds=0.6), time.monotonic() - started

    with ThreadPoolExecutor(len(ENDLESS)) as threads:
        errors = dict(zip(ENDLESS, threads.map(fetched, ENDLESS), strict=True))
    over.set()

    cut_off = re.compile(r"Retry: .*(longer than 0\.6 s|got more than)")
    assert [each for each in errors.items() if not cut_off.match(each[1][0]) or each[1][1] > SOON] == []


def test_answer_that_floods_is_not_kept(listen):
    def pour(sock: socket.socket, head: bytes, drop: bytes) -> None:
        sock.recv(65536)
        sock.sendall(head)
        flood = drop * (1_000_000 // len(drop))
        while True:
            sock.sendall(flood)

    for what in ENDLESS:
        port = listen(lambda sock, what=what: pour(sock, *ENDLESS[what]))
        with at_most(8), pytest.raises((Retry, Fail)):
            fetch(f"http://127.0.0.1:{port}/", seconds=1.0)


def test_compressed_answer_is_neither_asked_for_nor_unpacked(receiver, tmp_path):
    bomb = gzip.compress(b"\0" * 40_000_000, 1)

    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        receiver.replies(200, bomb, Content_Encoding=coding)
        with at_most(8), pytest.raises(Fail, match="not an image"):
            run("resize_image", {"source": receiver.url}, storage_url=tmp_path.as_uri())
        with at_most(8):
            assert run("webhook_delivery", {"url": receiver.url, "body": 1})["status"] == 200

    assert {request.headers["accept-encoding"] for request in receiver.requests} == {"identity"}


def test_jpeg_of_many_scans_is_final_and_of_few_is_read(resize):
    plain = saved(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    started = time.process_time()

    with pytest.raises(Fail, match="a JPEG of more than 100 scans"):
        resize(plain[:-2] + scan * 1000 + plain[-2:], width=10)

    assert time.process_time() - started < 3
    for mode in ("L", "RGB", "CMYK"):
        assert resize(saved(Image.new(mode, (90, 60)), "JPEG", progressive=True), width=9)["height"] == 6


def test_of_many_frames_only_the_first_is_decoded(resize):
    frames = [Image.new("L", (60, 40), shade % 256) for shade in range(2000)]
    for name in ("GIF", "WEBP", "PNG"):
        content = saved(frames[0], name, save_all=True, append_images=frames[1:], duration=10)
        started = time.process_time()

        assert resize(content, width=30, format="png")["height"] == 20

        assert time.process_time() - started < 2, name


def test_chunk_that_swells_is_final_or_left_out(resize):
    packed = zlib.compress(b"A" * 60_000_000, 1)
    for kind, head in {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}.items():
        with at_most(20), suppress(Fail):
            assert resize(png_with(chunk(kind, head + packed)), width=5)["bytes"] < 10_000, kind
