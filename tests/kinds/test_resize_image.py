"""resize_image, with real image files: sizes, formats and what a file holds besides its pixels."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageCms

from haulier.kinds import Fail, JobCancelled, StopReason
from haulier.kinds.included import resize_image
from haulier.kinds.sdk import turns
from tests.kinds.hostile_images import noise
from tests.kinds.kinds_tools import a_context, cancelled_once, perform, run
from tests.kinds.pictures import BLUE, GREEN, RED, WHITE, data_url, near, opened, picture, saved


def test_size_follows_from_the_sides_and_the_fit(resize):
    for wanted, size in (
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
    ):
        result = resize(picture(200, 100), **wanted)

        with opened(result["location"]) as image:
            assert image.size == (result["width"], result["height"]) == size, wanted


def test_cover_cuts_off_and_stretch_does_not(resize):
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (100, 0, 200, 100))

    covered = resize(saved(image), width=50, height=50, fit="cover")
    stretched = resize(saved(image), width=50, height=50, fit="stretch")

    with opened(covered["location"]) as cut, opened(stretched["location"]) as whole:
        assert near(cut.getpixel((1, 25)), RED)
        assert near(whole.getpixel((1, 25)), GREEN)


def test_result_is_in_the_format_asked_for_or_else_the_sources(resize):
    for name in ("jpeg", "png", "webp"):
        result = resize(picture(20, 10), width=10, format=name)

        with opened(result["location"]) as image:
            assert image.format == name.upper()
            assert near(image.getpixel((1, 1))[:3], RED)
            assert near(image.getpixel((8, 1))[:3], BLUE)
        assert result["format"] == name
        assert result["bytes"] == Path(urlsplit(result["location"]).path).stat().st_size

    for source, name in {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "GIF": "png", "BMP": "png"}.items():
        assert resize(picture(20, 10, name=source), width=10)["format"] == name


def test_orientation_of_the_camera_is_honoured(resize):
    upright = Image.new("RGB", (400, 200), RED)
    upright.paste(BLUE, (200, 0, 400, 200))
    upright.paste(GREEN, (0, 100, 200, 200))
    for orientation, undo in {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.items():
        stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
        exif = Image.Exif()
        exif[0x0112] = orientation

        result = resize(saved(stored, "JPEG", exif=exif, quality=95), width=100)

        with opened(result["location"]) as image:
            assert image.size == (100, 50), orientation
            assert near(image.getpixel((20, 10)), RED), orientation
            assert near(image.getpixel((80, 25)), BLUE), orientation
            assert near(image.getpixel((20, 40)), GREEN), orientation
            assert 0x0112 not in image.getexif(), orientation


def test_place_and_camera_do_not_stay_in_the_file(resize):
    exif = Image.Exif()
    exif[0x010F] = "Canonikon"
    source = picture(20, 10, name="JPEG", exif=exif, comment=b"at home")

    for name in ("jpeg", "png", "webp"):
        content = Path(urlsplit(resize(source, format=name)["location"]).path).read_bytes()
        assert b"Canonikon" not in content
        assert b"at home" not in content


def test_colour_profile_stays_in_the_file(resize):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = picture(20, 10, name="JPEG", icc_profile=profile)

    for name in ("jpeg", "png", "webp"):
        with opened(resize(source, width=10, format=name)["location"]) as image:
            assert image.info["icc_profile"] == profile


def test_every_kind_of_pixel_can_be_read_and_written(resize):
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"):
        source = picture(20, 10, mode, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
        for name in ("jpeg", "png", "webp"):
            assert resize(source, width=10, format=name)["width"] == 10, (mode, name)


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(resize):
    image = Image.new("I;16", (20, 10), 0x8000)

    with opened(resize(saved(image), width=10)["location"]) as result:
        assert 126 <= result.getpixel((5, 2)) <= 129


def test_transparency_becomes_white_in_a_jpeg_and_stays_elsewhere(resize):
    clear = picture(20, 10, "RGBA")
    palette = Image.new("P", (20, 10), 0)
    palette.putpalette([255, 0, 0])

    for source in (clear, saved(palette, "GIF", transparency=0)):
        with opened(resize(source, format="jpeg")["location"]) as image:
            assert near(image.getpixel((5, 5)), WHITE)
        with opened(resize(source, format="png", width=5)["location"]) as image:
            assert image.convert("RGBA").getpixel((2, 1))[3] == 0


def test_quality_matters(resize):
    sizes = [resize(noise(100), format="jpeg", quality=quality)["bytes"] for quality in (5, 50, 95)]

    assert sizes == sorted(set(sizes))


def test_image_of_absurd_proportions_is_final(resize):
    with pytest.raises(Fail, match="the image would have 7000 x 7000000 pixels"):
        resize(picture(1, 1000), width=7000)


def test_jobs_with_a_big_source_or_result_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(resize_image, "BIG_PIXELS", 100)
    given = {"storage_url": tmp_path.as_uri()}
    big_source = {"source": data_url(picture(20, 10)), "width": 9}
    big_result = {"source": data_url(picture(1, 1)), "width": 11, "height": 10, "fit": "stretch"}

    with turns.turn(a_context()):
        for payload in (big_source, big_result):
            context, due = a_context("resize_image", payload, **given), time.monotonic() + 0.2
            with cancelled_once(lambda due=due: time.monotonic() > due, context):
                perform(context)
        assert list(tmp_path.iterdir()) == []
        assert run("resize_image", {"source": data_url(picture(9, 9))}, **given)["width"] == 9

    assert run("resize_image", big_source, **given)["width"] == 9


def test_stopped_job_writes_nothing(tmp_path):
    context = a_context("resize_image", {"source": data_url(picture(9, 9))}, storage_url=f"file://{tmp_path}/images")
    context.stop(StopReason.SHUTDOWN)

    with pytest.raises(JobCancelled):
        perform(context)

    assert not (tmp_path / "images").exists()
