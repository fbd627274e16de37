"""Where resize_image gets its image: servers, data URLs, files of the storage; and what is none."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from haulier.kinds import Fail
from haulier.kinds.included import resize_image
from tests.kinds.kinds_tools import error_of, run
from tests.kinds.pictures import picture


def test_what_is_not_an_image_is_final(resize, receiver):
    for content in (
        *(b"", b"not an image", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        *(picture(50, 50)[:100], picture(50, 50, name="JPEG")[:400]),
        *(picture(9, 9, name="TIFF"), picture(9, 9, name="PPM")),
    ):
        receiver.replies(200, content)

        with pytest.raises(Fail, match="source: "):
            resize(receiver.url, width=5)
    for url in (
        *("data:image/png;base64,!!!", "data:image/png;base64,iVBORw0KGg", "data:,hello"),
        *("data:text/plain,a%20b", "data:;base64,="),
    ):
        with pytest.raises(Fail, match="source: "):
            resize(url, width=10)


def test_image_from_a_server_is_fetched(resize, receiver):
    receiver.replies(200, picture(20, 10))

    assert resize(f"{receiver.url}/cat.png?size=big", width=10)["height"] == 5
    assert receiver.requests[0].path == "/cat.png?size=big"


def test_source_that_is_too_long_is_final(resize, receiver, tmp_path, monkeypatch):
    monkeypatch.setattr(resize_image, "MAX_SOURCE", 1000)
    receiver.replies(200, b"x" * 1001)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "long.png").write_bytes(b"x" * 1001)

    for source in (receiver.url, "file:long.png"):
        with pytest.raises(Fail, match="more than 1000 bytes"):
            resize(source, width=10)


def test_data_url_may_be_percent_encoded(resize):
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


def test_file_inside_the_storage_is_read(resize, storage):
    for source in ("file:cat.png", "file:sub/a%20b.png", f"file://{storage}/cat.png", f"file:{storage}/sub/a%20b.png"):
        assert resize(source, width=10)["height"] == 5


def test_file_outside_the_storage_is_refused(resize, storage):
    sources = {
        "up": "../secret.png sub/../../secret.png %2e%2e/secret.png sub/%2e%2e/%2e%2e/secret.png {root}/../secret.png "
        "//{root}/../secret.png ///{root}/../secret.png",
        "beside": "{parent}/secret.png {root}-of-others/cat.png //elsewhere/cat.png",
        "links": "link.png up/secret.png inner.png",
        "no files": "pipe.png sub . / absent.png cat.png/x cat.png%00.jpg",
        "of the machine": "/etc/passwd ///etc/passwd /proc/self/environ",
    }
    offenders = []
    for path in " ".join(sources.values()).format(root=storage, parent=storage.parent).split():
        error = error_of(resize, f"file:{path}", width=10)
        if not re.match("Fail: .*source: (?!not an image|the image)", error):
            offenders.append((path, error))

    assert offenders == []


def test_storage_may_itself_lie_behind_a_link(storage):
    alias = storage.parent / "alias"
    alias.symlink_to(storage)

    for source in ("file:cat.png", f"file:{alias}/cat.png", f"file:{storage}/cat.png"):
        assert run("resize_image", {"source": source, "width": 5}, storage_url=f"file:{alias}")["width"] == 5


def test_file_source_needs_a_storage_of_files(resize):
    with pytest.raises(Fail, match="STORAGE_URL"):
        resize("file:/etc/passwd", settings={"storage_url": "memory://images"})
