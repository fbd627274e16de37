"""Images against a real worker: what takes too long is killed, what takes too much is final, and the worker goes on."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from haulier.domain.job import JobStatus
from tests.kinds.hostile_images import noise, picture, png_of


def data_url(content: bytes) -> str:
    """Give the image as a payload has it."""
    return "data:;base64," + base64.b64encode(content).decode()


@pytest.fixture
def start(spawn_worker, tmp_path):
    """Give a function that starts a worker which keeps images in a folder of the test's own."""
    (tmp_path / "images").mkdir()
    return lambda **settings: spawn_worker(**{"STORAGE_URL": f"file://{tmp_path}/images", **settings})


def resident(pid: int) -> int:
    """Return the most memory that the process has had. Units: megabytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def test_an_image_is_resized_in_a_process_of_its_own(start, enqueue, finished):
    start()

    job = finished(enqueue("resize_image", {"source": data_url(picture("PNG", 200, 100)), "width": 20}))

    assert job.status == JobStatus.SUCCEEDED
    assert (job.result["width"], job.result["height"]) == (20, 10)
    assert Path(unquote(urlsplit(job.result["location"]).path)).stat().st_size == job.result["bytes"]


def test_an_image_that_outlasts_its_timeout_is_killed_and_the_worker_goes_on(start, enqueue, finished):
    worker = start(STUCK_SECONDS=2)
    payload = {"source": data_url(noise(220)), "width": 7000, "height": 7000, "format": "png"}

    job = finished(enqueue("resize_image", payload, timeout_seconds=1, max_attempts=1))

    assert (job.status, job.last_error) == (JobStatus.FAILED_PERMANENT, "timed out after 1 s")
    assert worker.popen.poll() is None
    assert "stuck" not in worker.log
    small = finished(enqueue("resize_image", {"source": data_url(picture("PNG"))}))
    assert small.status == JobStatus.SUCCEEDED


def test_an_image_that_memory_does_not_hold_is_final(start, enqueue, finished, tmp_path):
    worker = start(ISOLATED_MEMORY_MB=128)
    (tmp_path / "images" / "big.png").write_bytes(picture("PNG", 7_000, 7_000))

    job = finished(enqueue("resize_image", {"source": "file:big.png", "width": 9}, max_attempts=5))

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert job.last_error == "it needs more memory than ISOLATED_MEMORY_MB allows (128 MB)"
    assert worker.popen.poll() is None


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("jpeg", "jpeg"),
        pytest.param("png", "jpeg", marks=pytest.mark.slow),
        pytest.param("png", "png", marks=pytest.mark.slow),
    ],
)
def test_a_photograph_of_fifty_million_pixels_fits_into_the_default_limit(
    start, enqueue, finished, tmp_path, source, made
):
    start()
    (tmp_path / "images" / "big").write_bytes(picture(source.upper(), 8_192, 6_144))

    job = finished(enqueue("resize_image", {"source": "file:big", "format": made}))

    assert (job.status, job.last_error) == (JobStatus.SUCCEEDED, None)


def test_the_worker_itself_never_holds_an_image(start, enqueue, finished, tmp_path):
    worker = start()
    (tmp_path / "images" / "big.png").write_bytes(picture("PNG", 7_000, 7_000))
    finished(enqueue("t.note"))
    before = resident(worker.pid)

    for _ in range(2):
        assert finished(enqueue("resize_image", {"source": "file:big.png", "width": 9})).status == "succeeded"

    assert resident(worker.pid) - before < 15


def test_a_small_wide_image_of_a_stranger_is_final_at_once(start, enqueue, finished):
    start()

    job = finished(enqueue("resize_image", {"source": data_url(png_of(1, 11_990_000)), "width": 1}))

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert "16383 pixels a side" in job.last_error
