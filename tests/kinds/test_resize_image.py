"""resize_image, with real image files, servers and folders."""

from __future__ import annotations

import base64
import io
import os
import random
import stat
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image, ImageCms

from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, JobCancelled, Retry, StopReason, load_kinds, resize_image, warn_missing
from haulier.kinds.sdk import turns
from tests.kinds.kinds_tools import Receiver, a_context, perform, run, settings, stopped_soon

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(width: int, height: int, mode: str = "RGB", name: str = "PNG", **options: Any) -> bytes:
    """Give a file: its left half red, its right half blue, but for other modes of one colour."""
    image = Image.new(mode, (width, height), RED if mode == "RGB" else None)
    if mode == "RGB":
        image.paste(BLUE, (width // 2, 0, width, height))
    written = io.BytesIO()
    image.save(written, name, **options)
    return written.getvalue()


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def opened(location: str) -> Image.Image:
    image = Image.open(unquote(urlsplit(location).path))
    image.load()
    return image


def near(one: Any, other: Any) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(one, other, strict=True))


@pytest.fixture
def resize(tmp_path: Path) -> Callable[..., Any]:
    """Give a function that resizes into a folder of the test's own."""

    def run_it(source: bytes | str, **payload: Any) -> Any:
        url = data_url(source) if isinstance(source, bytes) else source
        given = payload.pop("settings", {"storage_url": f"file://{tmp_path}/images"})
        return run("resize_image", {"source": url, **payload}, **given)

    return run_it


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 40, "height": 40}, (40, 20)),
        ({"width": 40, "height": 40, "fit": "contain"}, (40, 20)),
        ({"width": 40, "height": 40, "fit": "cover"}, (40, 40)),
        ({"width": 40, "height": 40, "fit": "stretch"}, (40, 40)),
        ({"width": 400, "height": 400}, (400, 200)),
        ({"width": 50}, (50, 25)),
        ({"width": 50.0}, (50, 25)),
        ({"height": 50}, (100, 50)),
        ({"height": 50, "fit": "cover"}, (100, 50)),
        ({"width": 1, "height": 1}, (1, 1)),
        ({}, (200, 100)),
        ({"width": None, "height": None, "fit": None, "format": None, "quality": None, "target": None}, (200, 100)),
    ],
)
def test_size_follows_from_the_sides_and_the_fit(resize: Callable[..., Any], asked: dict[str, Any], size: Any) -> None:
    result = resize(picture(200, 100), **asked)

    with opened(result["location"]) as image:
        assert image.size == (result["width"], result["height"]) == size


def test_cover_cuts_off_and_stretch_does_not(resize: Callable[..., Any]) -> None:
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (100, 0, 200, 100))
    written = io.BytesIO()
    image.save(written, "PNG")

    covered = resize(written.getvalue(), width=50, height=50, fit="cover")
    stretched = resize(written.getvalue(), width=50, height=50, fit="stretch")

    with opened(covered["location"]) as cut, opened(stretched["location"]) as whole:
        assert near(cut.getpixel((1, 25)), RED)
        assert near(whole.getpixel((1, 25)), GREEN)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_result_is_in_the_format_asked_for(resize: Callable[..., Any], name: str) -> None:
    result = resize(picture(20, 10), width=10, format=name)

    with opened(result["location"]) as image:
        assert image.format == name.upper()
        assert near(image.getpixel((1, 1))[:3], RED)
        assert near(image.getpixel((8, 1))[:3], BLUE)
    assert result["format"] == name
    assert result["bytes"] == Path(urlsplit(result["location"]).path).stat().st_size


@pytest.mark.parametrize(
    ("source", "expected"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "png"), ("BMP", "png")]
)
def test_format_is_by_default_the_sources(resize: Callable[..., Any], source: str, expected: str) -> None:
    assert resize(picture(20, 10, name=source), width=10)["format"] == expected


def test_file_bears_the_job_id_so_a_second_attempt_replaces_it(tmp_path: Path) -> None:
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}")

    first = perform(context)
    second = perform(context)

    assert first == second
    assert first["location"] == f"file://{tmp_path}/{context.job.id}.png"
    assert [each.name for each in tmp_path.iterdir()] == [f"{context.job.id}.png"]
    assert stat.S_IMODE((tmp_path / f"{context.job.id}.png").stat().st_mode) == 0o644


def test_a_file_is_read_by_whoever_knows_its_name_from_whatever_queue(tmp_path: Path) -> None:
    """As docs/kinds.md says: the name is an id, which a key that is limited to queues does not learn of others."""
    storage = {"storage_url": tmp_path.as_uri()}
    other = a_context("resize_image", {"source": data_url(picture(9, 9))}, **storage)
    location = perform(other)["location"]

    assert run("resize_image", {"source": location, "width": 3}, **storage)["width"] == 3
    for guess in ("file:.", "file:*.png", f"file:{str(other.job.id)[:-1]}?.png", f"file:{str(other.job.id)[:-1]}"):
        with pytest.raises(Fail):
            run("resize_image", {"source": guess, "width": 3}, **storage)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_the_camera_is_honoured(resize: Callable[..., Any], orientation: int) -> None:
    upright = Image.new("RGB", (400, 200), RED)
    upright.paste(BLUE, (200, 0, 400, 200))
    upright.paste(GREEN, (0, 100, 200, 200))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    stored.save(written, "JPEG", exif=exif, quality=95)

    result = resize(written.getvalue(), width=100)

    with opened(result["location"]) as image:
        assert image.size == (100, 50)
        assert near(image.getpixel((20, 10)), RED)
        assert near(image.getpixel((80, 25)), BLUE)
        assert near(image.getpixel((20, 40)), GREEN)
        assert 0x0112 not in image.getexif()


def test_place_and_camera_do_not_stay_in_the_file(resize: Callable[..., Any]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Canonikon"
    source = picture(20, 10, name="JPEG", exif=exif, comment=b"at home")

    for name in ("jpeg", "png", "webp"):
        content = Path(urlsplit(resize(source, format=name)["location"]).path).read_bytes()
        assert b"Canonikon" not in content
        assert b"at home" not in content


def test_colour_profile_stays_in_the_file(resize: Callable[..., Any]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = picture(20, 10, name="JPEG", icc_profile=profile)

    for name in ("jpeg", "png", "webp"):
        with opened(resize(source, width=10, format=name)["location"]) as image:
            assert image.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_every_kind_of_pixel_can_be_read_and_written(resize: Callable[..., Any], mode: str, name: str) -> None:
    source = picture(20, 10, mode, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")

    assert resize(source, width=10, format=name)["width"] == 10


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(resize: Callable[..., Any]) -> None:
    image = Image.new("I;16", (20, 10), 0x8000)
    written = io.BytesIO()
    image.save(written, "PNG")

    with opened(resize(written.getvalue(), width=10)["location"]) as result:
        assert 126 <= result.getpixel((5, 2)) <= 129


def test_transparency_becomes_white_in_a_jpeg_and_stays_elsewhere(resize: Callable[..., Any]) -> None:
    clear = picture(20, 10, "RGBA")
    palette = Image.new("P", (20, 10), 0)
    palette.putpalette([255, 0, 0])
    written = io.BytesIO()
    palette.save(written, "GIF", transparency=0)

    for source in (clear, written.getvalue()):
        with opened(resize(source, format="jpeg")["location"]) as image:
            assert near(image.getpixel((5, 5)), WHITE)
        with opened(resize(source, format="png", width=5)["location"]) as image:
            assert image.convert("RGBA").getpixel((2, 1))[3] == 0


def test_quality_matters(resize: Callable[..., Any]) -> None:
    noise = random.Random(1).randbytes(100 * 100 * 3)
    written = io.BytesIO()
    Image.frombytes("RGB", (100, 100), noise).save(written, "PNG")

    sizes = [resize(written.getvalue(), format="jpeg", quality=quality)["bytes"] for quality in (5, 50, 95)]

    assert sizes == sorted(set(sizes))


def test_big_photograph_is_resized(resize: Callable[..., Any], receiver: Receiver) -> None:
    receiver.replies(200, picture(8064, 6048, name="JPEG", quality=30))

    assert resize(receiver.url, width=800)["height"] == 600


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


def test_image_of_absurd_proportions_is_final(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="the image would have 7000 x 7000000 pixels"):
        resize(picture(1, 1000), width=7000)


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


def test_link_at_the_results_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}/images")
    (tmp_path / "images").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "images" / f"{context.job.id}.png").symlink_to(tmp_path / "precious")

    perform(context)

    assert (tmp_path / "precious").read_text() == "precious"


def test_other_storages_are_reached_by_fsspec(resize: Callable[..., Any]) -> None:
    result = resize(picture(20, 10), width=10, settings={"storage_url": "memory://images/small"})

    path = result["location"].removeprefix("memory://")
    assert Image.open(io.BytesIO(fsspec.filesystem("memory").cat_file(path))).size == (10, 5)


def test_file_source_needs_a_storage_of_files(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="STORAGE_URL"):
        resize("file:/etc/passwd", settings={"storage_url": "memory://images"})


def test_storage_whose_package_is_absent_is_final(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="STORAGE_URL: s3:// cannot be used: .*s3fs"):
        resize(picture(9, 9), settings={"storage_url": "s3://key:hunter2@bucket/images"})


def test_storage_that_does_not_take_the_file_is_tried_again(resize: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")

    with pytest.raises(Retry, match="STORAGE_URL: cannot write"):
        resize(picture(9, 9))


def test_error_of_another_storage_is_not_quoted(resize: Callable[..., Any]) -> None:
    class Denying(MemoryFileSystem):
        protocol = "denying"

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            raise PermissionError("denied: AWS_SECRET_ACCESS_KEY=hunter2")

    fsspec.register_implementation("denying", Denying, clobber=True)

    with pytest.raises(Retry, match="STORAGE_URL: cannot write: PermissionError$"):
        resize(picture(9, 9), settings={"storage_url": "denying://images"})


def test_target_gets_the_image_by_put(resize: Callable[..., Any], receiver: Receiver) -> None:
    target = f"{receiver.url}/bucket/cat.webp?X-Amz-Signature=abc"

    result = resize(picture(20, 10), width=10, format="webp", target=target, settings={"storage_url": None})

    [request] = receiver.requests
    assert (request.method, request.path) == ("PUT", "/bucket/cat.webp?X-Amz-Signature=abc")
    assert request.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(request.body)).size == (10, 5)
    assert result["location"] == f"{receiver.url}/bucket/cat.webp"
    assert result["bytes"] == len(request.body)


@pytest.mark.parametrize(("status", "outcome"), [(403, Fail), (302, Fail), (500, Retry), (503, Retry)])
def test_status_of_the_target_decides(
    resize: Callable[..., Any], receiver: Receiver, status: int, outcome: type[Exception]
) -> None:
    receiver.replies(status)

    with pytest.raises(outcome, match=f"answered {status}") as caught:
        resize(picture(9, 9), target=f"{receiver.url}/x?X-Amz-Signature=abc")

    assert "abc" not in str(caught.value)


def test_target_at_a_private_address_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    payload = {"source": data_url(picture(9, 9)), "target": receiver.url}

    with pytest.raises(Fail, match="is refused"):
        run("resize_image", payload, storage_url=f"file://{tmp_path}", outbound_allow_private=())

    assert receiver.connections == 0


def test_missing_storage_is_final_named_and_warned_of(resize: Callable[..., Any]) -> None:
    with pytest.raises(Fail, match="resize_image needs STORAGE_URL, which is not set"):
        resize(picture(9, 9), settings={"storage_url": None})

    kinds = load_kinds(settings())
    assert warn_missing([kinds["resize_image"]], settings()) == [
        "STORAGE_URL not set: every resize_image job without a target will fail"
    ]


@pytest.mark.parametrize("url", ["images", "/var/images", "file:", "file://elsewhere/images", "s3"])
def test_storage_url_that_is_wrong_stops_the_process(url: str) -> None:
    with pytest.raises(ConfigError, match="STORAGE_URL"):
        load_kinds(settings(storage_url=url))


def test_big_images_take_turns_and_a_waiting_one_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(picture(4000, 3001))
    payload, given = {"source": "file:big.png", "width": 9}, {"storage_url": f"file://{tmp_path}"}
    waiting, started = a_context("resize_image", payload, **given), time.monotonic()

    with turns.turn(a_context()):
        over = stopped_soon(waiting, lambda: time.monotonic() - started > 0.5)
        with over, pytest.raises(JobCancelled):
            perform(waiting)
        assert run("resize_image", {"source": data_url(picture(9, 9))}, **given)["width"] == 9

    assert run("resize_image", payload, **given)["width"] == 9


def test_stopped_job_writes_nothing(tmp_path: Path) -> None:
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}/images")
    context.stop(StopReason.SHUTDOWN)

    with pytest.raises(JobCancelled):
        perform(context)

    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "source"),
        ({"source": 5}, "source"),
        ({"source": "cat.png"}, "source"),
        ({"source": "ftp://a.b/cat.png"}, "source"),
        ({"source": "http://a.b/c\n"}, "source"),
        ({"source": "http://a.b/", "width": "5"}, "width"),
        ({"source": "http://a.b/", "width": 2.9}, "width"),
        ({"source": "http://a.b/", "width": True}, "width"),
        ({"source": "http://a.b/", "width": 0}, "width"),
        ({"source": "http://a.b/", "height": 7001}, "height"),
        ({"source": "http://a.b/", "height": 10**400}, "height"),
        ({"source": "http://a.b/", "fit": "crop"}, "fit"),
        ({"source": "http://a.b/", "format": "gif"}, "format"),
        ({"source": "http://a.b/", "quality": 101}, "quality"),
        ({"source": "http://a.b/", "target": "file:///x"}, "target"),
        ({"source": "http://a.b/", "widht": 5}, "widht"),
    ],
)
def test_payload_that_does_not_fit_is_final_and_names_the_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(Fail, match=f"the payload does not fit resize_image: {field}: "):
        run("resize_image", payload)
