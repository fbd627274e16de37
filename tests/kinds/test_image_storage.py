"""Where resize_image gets its image, and where it puts it: servers, data URLs, folders, other storages, a PUT."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from haulier.kinds import Fail, Retry
from haulier.kinds.included import resize_image
from tests.kinds.kinds_tools import a_context, error_of, perform, run
from tests.kinds.pictures import data_url, picture


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


# --- Where it puts it


def test_file_bears_the_job_id_so_a_second_attempt_replaces_it(tmp_path):
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}")

    first = perform(context)
    second = perform(context)

    assert first == second
    assert first["location"] == f"file://{tmp_path}/{context.job.id}.png"
    assert [each.name for each in tmp_path.iterdir()] == [f"{context.job.id}.png"]
    assert stat.S_IMODE((tmp_path / f"{context.job.id}.png").stat().st_mode) == 0o644


def test_a_file_is_read_by_whoever_knows_its_name_from_whatever_queue(tmp_path):
    """docs/included-kinds.md: the name is an id, which a key that is limited to queues does not learn of others."""
    storage = {"storage_url": tmp_path.as_uri()}
    other = a_context("resize_image", {"source": data_url(picture(9, 9))}, **storage)
    location = perform(other)["location"]

    assert run("resize_image", {"source": location, "width": 3}, **storage)["width"] == 3
    for guess in ("file:.", "file:*.png", f"file:{str(other.job.id)[:-1]}?.png", f"file:{str(other.job.id)[:-1]}"):
        with pytest.raises(Fail):
            run("resize_image", {"source": guess, "width": 3}, **storage)


def test_link_at_the_results_name_is_replaced_and_not_followed(tmp_path):
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}/images")
    (tmp_path / "images").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "images" / f"{context.job.id}.png").symlink_to(tmp_path / "precious")

    perform(context)

    assert (tmp_path / "precious").read_text() == "precious"


def test_other_storages_are_reached_by_fsspec(resize):
    result = resize(picture(20, 10), width=10, settings={"storage_url": "memory://images/small"})

    path = result["location"].removeprefix("memory://")
    assert Image.open(io.BytesIO(fsspec.filesystem("memory").cat_file(path))).size == (10, 5)


def test_storage_whose_package_is_absent_is_final(resize):
    with pytest.raises(Fail, match="STORAGE_URL: s3:// cannot be used: .*s3fs"):
        resize(picture(9, 9), settings={"storage_url": "s3://key:hunter2@bucket/images"})


def test_storage_that_does_not_take_the_file_is_tried_again(resize, tmp_path):
    (tmp_path / "images").write_text("a file where the folder should be")

    with pytest.raises(Retry, match="STORAGE_URL: cannot write"):
        resize(picture(9, 9))


def test_error_of_another_storage_is_not_quoted(resize):
    class Failing(MemoryFileSystem):
        protocol = "failing"
        error: Exception

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            raise self.error

    fsspec.register_implementation("failing", Failing, clobber=True)
    for error, outcome, says in (
        (PermissionError("denied: AWS_SECRET_ACCESS_KEY=hunter2"), Retry, "cannot write: PermissionError$"),
        (ValueError("bad endpoint: https://key:hunter2@storage"), Fail, "failing:// cannot be used$"),
    ):
        Failing.error = error
        with pytest.raises(outcome, match=f"STORAGE_URL: {says}"):
            resize(picture(9, 9), settings={"storage_url": "failing://key:hunter2@bucket"})


def test_target_gets_the_image_by_put(resize, receiver):
    target = f"{receiver.url}/bucket/cat.webp?X-Amz-Signature=abc"

    result = resize(picture(20, 10), width=10, format="webp", target=target, settings={"storage_url": None})

    [request] = receiver.requests
    assert (request.method, request.path) == ("PUT", "/bucket/cat.webp?X-Amz-Signature=abc")
    assert request.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(request.body)).size == (10, 5)
    assert result["location"] == f"{receiver.url}/bucket/cat.webp"
    assert result["bytes"] == len(request.body)


def test_status_of_source_and_target_decides(resize, receiver):
    url = f"{receiver.url}/x?X-Amz-Signature=abc"
    for source, target in ((url, None), (picture(9, 9), url)):
        for status, outcome in {403: Fail, 404: Fail, 410: Fail, 429: Retry, 500: Retry, 503: Retry}.items():
            receiver.replies(status, Retry_After="120")

            with pytest.raises(outcome, match=f"answered {status}") as caught:
                resize(source, width=5, target=target)

            assert "abc" not in str(caught.value)
            assert status != 429 or caught.value.seconds == 120
    receiver.replies(302)
    with pytest.raises(Fail, match="answered 302"):
        resize(picture(9, 9), target=url)


def test_missing_storage_is_final_and_named(resize):
    with pytest.raises(Fail, match="resize_image needs a target, or STORAGE_URL, which is not set"):
        resize(picture(9, 9), settings={"storage_url": None})
