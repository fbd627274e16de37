"""What hostile name servers, web servers and image files try, through the kinds that meet them."""

from __future__ import annotations

import base64
import gzip
import io
import ipaddress
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from haulier.kinds import Fail, JobCancelled, Retry, resize_image
from haulier.kinds.outbound.addresses import guard
from haulier.kinds.outbound.deadline import Deadline
from haulier.kinds.outbound.http_client import download
from haulier.kinds.sdk import turns
from tests.kinds.kinds_tools import SOON, Receiver, a_context, perform, reply, run, stopped_soon

Listen = Callable[[Callable[[socket.socket], None]], int]
Resolves = Callable[..., list[str]]

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


def fetch(url: str, limit: int = 1_000_000, seconds: float = 5.0) -> bytes:
    with Deadline(a_context(outbound_allow_private=("127.0.0.1",)), seconds, "the test") as deadline:
        return download(deadline, url, limit)


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """Fail where Python's objects take more than that at any time within the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


# ---- Name servers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("webhook_delivery", {"url": "http://rebind.example:{port}/", "body": 1}),
        ("resize_image", {"source": "http://rebind.example:{port}/a.png"}),
        ("resize_image", {"source": DOT, "target": "http://rebind.example:{port}/a.png"}),
    ],
    ids=["webhook", "source", "target"],
)
def test_no_kind_asks_a_name_server_twice(
    receiver: Receiver, resolves: Resolves, tmp_path: Path, kind: str, payload: dict[str, Any]
) -> None:
    asked = resolves(["127.0.0.2"], ["127.0.0.1"])
    payload = {name: value.format(port=receiver.port) if name != "body" else value for name, value in payload.items()}

    with pytest.raises(Retry):
        run(kind, payload, outbound_allow_private=("127.0.0.2",), storage_url=tmp_path.as_uri())

    assert asked == ["rebind.example"]
    assert receiver.connections == 0


def test_name_is_judged_anew_at_each_redirect(receiver: Receiver, resolves: Resolves) -> None:
    receiver.replies(302, Location="/next")
    asked = resolves(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.7"])

    with pytest.raises(Fail, match="turning.example is refused: it resolves to a private address"):
        fetch(f"http://turning.example:{receiver.port}/")

    assert len(asked) == 3
    assert receiver.connections == 2


@pytest.mark.parametrize("port", [22, 25, 110, 465, 587, 6667, 10080])
def test_port_of_another_protocol_is_refused_unless_it_is_named(resolves: Resolves, port: int) -> None:
    resolves(["8.8.8.8"])
    address = ipaddress.ip_address("8.8.8.8")

    with pytest.raises(Fail, match=f"mail.example is refused: port {port} is another protocol's"):
        fetch(f"http://mail.example:{port}/")
    assert guard((f"mail.example:{port}",)).permits("mail.example", port, address)
    assert guard((f"8.8.8.0/24:{port}",)).permits("mail.example", port, address)
    assert not guard((f"mail.example:{port + 1}",)).permits("mail.example", port, address)


@pytest.mark.parametrize("port", [80, 443, 3000, 8080, 8443, 49152])
def test_port_that_is_merely_unusual_is_not(port: int) -> None:
    assert guard(()).permits("example.com", port, ipaddress.ip_address("8.8.8.8"))


# ---- Web servers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("onward", ["http://[::1", "http://[x]/", "//[", "http://\u2100.example/", "\\\\a"])
def test_redirect_to_what_is_no_url_is_final(receiver: Receiver, onward: str) -> None:
    receiver.replies(302, Location=onward.encode().decode("latin-1"))

    with pytest.raises(Fail) as caught:
        fetch(receiver.url)

    assert onward not in str(caught.value)
    assert receiver.connections == 1


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


@pytest.mark.parametrize("what", ENDLESS)
def test_answer_that_drips_is_cut_off_at_the_time_limit(listen: Listen, what: str) -> None:
    head, drop = ENDLESS[what]
    over = threading.Event()

    def drip(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(head)
        while not over.wait(0.02):
            sock.sendall(drop)

    started = time.monotonic()
    try:
        with pytest.raises(Retry, match=r"longer than 0\.6 s|got more than"):
            fetch(f"http://127.0.0.1:{listen(drip)}/", seconds=0.6)
    finally:
        over.set()

    assert time.monotonic() - started < SOON


@pytest.mark.parametrize("what", ENDLESS)
def test_answer_that_floods_is_not_kept(listen: Listen, what: str) -> None:
    head, drop = ENDLESS[what]
    flood = drop * (1_000_000 // len(drop))

    def pour(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(head)
        while True:
            sock.sendall(flood)

    with at_most(8), pytest.raises((Retry, Fail)):
        fetch(f"http://127.0.0.1:{listen(pour)}/", seconds=1.5)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Give 200 MB, compressed to 200 kB."""
    return gzip.compress(b"\0" * 200_000_000, 9)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_answer_is_neither_asked_for_nor_unpacked(
    receiver: Receiver, tmp_path: Path, bomb: bytes, coding: str
) -> None:
    receiver.replies(200, bomb, Content_Encoding=coding)

    with at_most(8), pytest.raises(Fail, match="not an image"):
        run("resize_image", {"source": receiver.url}, storage_url=tmp_path.as_uri())

    assert receiver.requests[0].headers["accept-encoding"] == "identity"


def test_compressed_answer_to_a_webhook_is_not_unpacked(receiver: Receiver, bomb: bytes) -> None:
    receiver.replies(200, bomb, Content_Encoding="gzip")

    with at_most(8):
        assert run("webhook_delivery", {"url": receiver.url, "body": 1})["status"] == 200


def test_what_a_receiver_answers_is_not_told(receiver: Receiver) -> None:
    def answer(handler: Any, request: Any) -> None:
        handler.send_response(400, "secret reason")
        handler.send_header("X-Internal", "secret header")
        handler.send_header("Content-Length", "11")
        handler.end_headers()
        handler.wfile.write(b"secret body")

    receiver.answer = answer

    with pytest.raises(Fail) as caught:
        run("webhook_delivery", {"url": receiver.url, "body": 1})

    assert "secret" not in str(caught.value)


def test_cookie_of_an_answer_goes_nowhere(receiver: Receiver) -> None:
    receiver.answer = lambda handler, request: reply(
        handler, 302 if request.path == "/" else 200, b"ok", Location="/next", Set_Cookie="a=b"
    )

    assert fetch(receiver.url) == b"ok"

    assert [request.path for request in receiver.requests] == ["/", "/next"]
    assert "cookie" not in receiver.requests[1].headers


# ---- Image files ---------------------------------------------------------------------------------------------------


def data_url(content: bytes) -> str:
    return "data:image/x;base64," + base64.b64encode(content).decode()


@pytest.fixture
def resize(tmp_path: Path) -> Callable[..., Any]:
    """Give a function that resizes a file, given as bytes, into a folder of the test's own."""
    return lambda content, **payload: run(
        "resize_image", {"source": data_url(content), **payload}, storage_url=tmp_path.as_uri()
    )


def test_jpeg_of_many_scans_is_final_and_not_decoded(resize: Callable[..., Any]) -> None:
    written = io.BytesIO()
    Image.new("L", (7000, 7000), 128).save(written, "JPEG", progressive=True)
    plain = written.getvalue()
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    started = time.process_time()

    with pytest.raises(Fail, match="a JPEG of more than 100 scans"):
        resize(plain[:-2] + scan * 1000 + plain[-2:], width=10)

    assert time.process_time() - started < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_progressive_jpeg_is_taken(resize: Callable[..., Any], mode: str) -> None:
    written = io.BytesIO()
    Image.new(mode, (90, 60)).save(written, "JPEG", progressive=True)

    assert resize(written.getvalue(), width=9)["height"] == 6


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_of_many_frames_only_the_first_is_decoded(resize: Callable[..., Any], name: str) -> None:
    frames = [Image.new("L", (60, 40), shade % 256) for shade in range(2000)]
    written = io.BytesIO()
    frames[0].save(written, name, save_all=True, append_images=frames[1:], duration=10)
    started = time.process_time()

    assert resize(written.getvalue(), width=30, format="png")["height"] == 20

    assert time.process_time() - started < 2


def test_gif_whose_picture_is_larger_than_its_screen_is_final(resize: Callable[..., Any]) -> None:
    screen = struct.pack("<6sHHBBB", b"GIF89a", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02L\x01\x00;"

    with pytest.raises(Fail, match="limit is 51000000 pixels"):
        resize(screen + frame, width=10)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_chunk_that_swells_is_final_or_left_out(resize: Callable[..., Any], kind: bytes) -> None:
    packed = zlib.compress(b"A" * 200_000_000, 9)
    content = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}[kind] + packed
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    written = io.BytesIO()
    Image.new("RGB", (9, 9)).save(written, "PNG")
    plain = written.getvalue()

    with at_most(20), suppress(Fail):
        assert resize(plain[:33] + chunk + plain[33:], width=5)["bytes"] < 10_000


def test_small_image_that_is_to_be_big_takes_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize_image, "BIG_PIXELS", 100)
    payload = {"source": DOT, "width": 11, "height": 10, "fit": "stretch"}
    waiting, started = a_context("resize_image", payload, storage_url=tmp_path.as_uri()), time.monotonic()

    with turns.turn(a_context()):
        over = stopped_soon(waiting, lambda: time.monotonic() - started > 0.5)
        with over, pytest.raises(JobCancelled):
            perform(waiting)

    assert list(tmp_path.iterdir()) == []


def test_error_of_a_storage_that_refuses_its_url_is_not_quoted(tmp_path: Path) -> None:
    class Picky(MemoryFileSystem):
        protocol = "picky"

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            raise ValueError("bad endpoint: https://key:hunter2@storage")

    fsspec.register_implementation("picky", Picky, clobber=True)

    with pytest.raises(Fail, match="STORAGE_URL: picky:// cannot be used$"):
        run("resize_image", {"source": DOT}, storage_url="picky://key:hunter2@bucket")
