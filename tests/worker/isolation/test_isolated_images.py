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


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Give the folder in which the worker keeps images."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def shared(share_worker, images):
    return share_worker(STORAGE_URL=images.as_uri(), STUCK_SECONDS=2)


def resident(pid: int) -> int:
    """Return the most memory that the process has had. Units: megabytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def test_an_image_is_resized_in_a_process_of_its_own(worker):
    job = worker.run("resize_image", {"source": data_url(picture("PNG", 200, 100)), "width": 20})

    assert job.status == JobStatus.SUCCEEDED
    assert (job.result["width"], job.result["height"]) == (20, 10)
    assert Path(unquote(urlsplit(job.result["location"]).path)).stat().st_size == job.result["bytes"]


def test_an_image_that_outlasts_its_timeout_is_killed_and_the_worker_goes_on(worker):
    payload = {"source": data_url(noise(220)), "width": 7000, "height": 7000, "format": "png"}

    job = worker.run("resize_image", payload, timeout_seconds=1, max_attempts=1)

    assert (job.status, job.last_error) == (JobStatus.FAILED_PERMANENT, "timed out after 1 s")
    assert "stuck" not in worker.process.log
    assert worker.run("resize_image", {"source": data_url(picture("PNG"))}).status == JobStatus.SUCCEEDED


def test_an_image_that_memory_does_not_hold_is_final(spawn_worker, enqueue, finished, images):
    worker = spawn_worker(STORAGE_URL=images.as_uri(), ISOLATED_MEMORY_MB=128)
    (images / "big.png").write_bytes(picture("PNG", 7_000, 7_000))

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
def test_a_photograph_of_fifty_million_pixels_fits_into_the_default_limit(worker, images, source, made):
    (images / "photograph").write_bytes(picture(source.upper(), 8_192, 6_144))

    job = worker.run("resize_image", {"source": "file:photograph", "format": made})

    assert (job.status, job.last_error) == (JobStatus.SUCCEEDED, None)


def test_the_worker_itself_never_holds_an_image(worker, images):
    (images / "big.png").write_bytes(picture("PNG", 7_000, 7_000))
    worker.run("t.note")
    before = resident(worker.process.pid)

    for _ in range(2):
        assert worker.run("resize_image", {"source": "file:big.png", "width": 9}).status == "succeeded"

    assert resident(worker.process.pid) - before < 15


def test_a_small_wide_image_of_a_stranger_is_final_at_once(worker):
    job = worker.run("resize_image", {"source": data_url(png_of(1, 11_990_000)), "width": 1})

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert "16383 pixels a side" in job.last_error
