"""Where resize_image puts its image: folders, other storages, a target that takes a PUT."""

from __future__ import annotations

import io
import stat
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from haulier.kinds import Fail, Retry
from tests.kinds.kinds_tools import a_context, perform, run
from tests.kinds.pictures import data_url, picture


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
    with pytest.raises(Fail, match="resize_image needs STORAGE_URL, which is not set"):
        resize(picture(9, 9), settings={"storage_url": None})
