"""Where resize_image gets its image: servers, data URLs, files of the storage; and what is none, or a bomb."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from haulier.kinds import Fail, Retry, resize_image
from tests.kinds.kinds_tools import Receiver, run
from tests.kinds.pictures import picture


def header_of_a_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(b"\0" * 10_000)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [7_200, 10_000, 15_000, 2**31 - 1])
def test_decompression_bomb_is_final_and_not_decoded(resize: Callable[..., Any], side: int) -> None:
    with pytest.raises(Fail, match="limit is 51000000 pixels"):
        resize(header_of_a_png(side, side), width=10)


def test_bomb_of_compressed_text_is_final(resize: Callable[..., Any]) -> None:
    text = zlib.compress(b"A" * 200_000_000)
    content = b"Comment\0\0" + text
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    plain = picture(9, 9)

    with pytest.raises(Fail):
        resize(plain[:33] + chunk + plain[33:], width=5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ]
    + [
        picture(50, 50)[:100],
        picture(50, 50, name="JPEG")[:400],
        picture(9, 9, name="TIFF"),
        picture(9, 9, name="PPM"),
    ],
)
def test_what_is_not_an_image_is_final(resize: Callable[..., Any], receiver: Receiver, content: bytes) -> None:
    receiver.replies(200, content)

    with pytest.raises(Fail, match="source: "):
        resize(receiver.url, width=5)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damaged_file_is_final_or_harmless(resize: Callable[..., Any], name: str) -> None:
    whole, chance = picture(40, 30, name=name), random.Random(name)

    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with suppress(Fail):  # and nothing else
            assert resize(bytes(damaged), width=10)["width"]


def test_image_from_a_server_is_fetched(resize: Callable[..., Any], receiver: Receiver) -> None:
    receiver.replies(200, picture(20, 10))

    assert resize(f"{receiver.url}/cat.png?size=big", width=10)["height"] == 5
    assert receiver.requests[0].path == "/cat.png?size=big"


def test_image_from_a_private_address_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    given = {"storage_url": f"file://{tmp_path}", "outbound_allow_private": ()}

    with pytest.raises(Fail, match="is refused"):
        run("resize_image", {"source": receiver.url}, **given)

    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, Fail), (403, Fail), (410, Fail), (429, Retry), (500, Retry), (503, Retry)]
)
def test_status_of_the_source_decides(
    resize: Callable[..., Any], receiver: Receiver, status: int, outcome: type[Exception]
) -> None:
    receiver.replies(status)

    with pytest.raises(outcome, match=f"answered {status}"):
        resize(receiver.url, width=10)


@pytest.mark.parametrize("end", ["source", "target"])
def test_source_or_target_is_left_alone_for_as_long_as_it_asks(
    resize: Callable[..., Any], receiver: Receiver, end: str
) -> None:
    receiver.replies(429, Retry_After="120")

    with pytest.raises(Retry) as caught:
        if end == "source":
            resize(receiver.url, width=5)
        else:
            resize(picture(9, 9), target=receiver.url)

    assert caught.value.seconds == 120


def test_source_that_is_too_long_is_final(
    resize: Callable[..., Any], receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resize_image, "MAX_SOURCE", 1000)
    receiver.replies(200, b"x" * 1001)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "long.png").write_bytes(b"x" * 1001)

    for source in (receiver.url, "file:long.png"):
        with pytest.raises(Fail, match="more than 1000 bytes"):
            resize(source, width=10)


@pytest.mark.parametrize(
    "source",
    [
        "data:image/png;base64,!!!",
        "data:image/png;base64,iVBORw0KGg",
        "data:,hello",
        "data:text/plain,a%20b",
        "data:;base64,=",
    ],
)
def test_data_url_that_holds_no_image_is_final(resize: Callable[..., Any], source: str) -> None:
    with pytest.raises(Fail, match="source: "):
        resize(source, width=10)


def test_data_url_may_be_percent_encoded(resize: Callable[..., Any]) -> None:
    url = "data:image/png," + "".join(f"%{byte:02x}" for byte in picture(20, 10))

    assert resize(url, width=10)["height"] == 5


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Give a storage with files in it and secrets beside it."""
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    (root / "cat.png").write_bytes(picture(20, 10))
    (root / "sub" / "a b.png").write_bytes(picture(20, 10))
    (tmp_path / "secret.png").write_bytes(picture(20, 10))
    (tmp_path / "images-of-others").mkdir()
    (tmp_path / "images-of-others" / "cat.png").write_bytes(picture(20, 10))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "inner.png").symlink_to(root / "cat.png")
    os.mkfifo(root / "pipe.png")
    return root


@pytest.mark.parametrize(
    "source", ["file:cat.png", "file:sub/a%20b.png", "file://{root}/cat.png", "file:{root}/sub/a%20b.png"]
)
def test_file_inside_the_storage_is_read(resize: Callable[..., Any], storage: Path, source: str) -> None:
    assert resize(source.format(root=storage), width=10)["height"] == 5


@pytest.mark.parametrize(
    "source",
    [
        "file:../secret.png",
        "file:sub/../../secret.png",
        "file:%2e%2e/secret.png",
        "file:sub/%2e%2e/%2e%2e/secret.png",
        "file:{root}/../secret.png",
        "file://{root}/../secret.png",
        "file:///{root}/../secret.png",
        "file:{parent}/secret.png",
        "file:{root}-of-others/cat.png",
        "file:link.png",
        "file:up/secret.png",
        "file:inner.png",
        "file:pipe.png",
        "file:sub",
        "file:.",
        "file:/",
        "file:/etc/passwd",
        "file:///etc/passwd",
        "file:/proc/self/environ",
        "file://elsewhere/cat.png",
        "file:absent.png",
        "file:cat.png/x",
        "file:cat.png%00.jpg",
    ],
)
def test_file_outside_the_storage_is_refused(resize: Callable[..., Any], storage: Path, source: str) -> None:
    with pytest.raises(Fail, match="source: (?!not an image|the image)"):
        resize(source.format(root=storage, parent=storage.parent), width=10)


def test_storage_may_itself_lie_behind_a_link(storage: Path) -> None:
    alias = storage.parent / "alias"
    alias.symlink_to(storage)

    for source in ("file:cat.png", f"file:{alias}/cat.png", f"file:{storage}/cat.png"):
        assert run("resize_image", {"source": source, "width": 5}, storage_url=f"file:{alias}")["width"] == 5


def test_file_source_needs_a_storage_of_files(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="STORAGE_URL"):
        resize("file:/etc/passwd", settings={"storage_url": "memory://images"})
