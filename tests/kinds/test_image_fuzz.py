"""Images mutated at random end in success or for good, in a child that lives on; `make fuzz` makes 100,000 of them."""

from __future__ import annotations

import base64
import os
import random
from collections import Counter
from contextlib import closing
from typing import Any

from haulier.domain.outcome import Outcome, Verb
from haulier.kinds import JobContext, load_kinds
from haulier.worker.isolation.children import Children
from haulier.worker.steps.execute import run_one
from tests.kinds.hostile_images import chunk, exif, gif_with, jpeg_with, noise, picture, png_with, segment, webp_with
from tests.kinds.kinds_tools import a_job, settings

IMAGES, SEED = int(os.environ.get("FUZZ_IMAGES", "400")), int(os.environ.get("FUZZ_SEED", "1"))
NOTES = exif((0x0112, 3, 1, b"\6\0\0\0"), (0x010F, 2, 4, b"abc\0"), (0x8769, 4, 1, b"\x08\0\0\0"))
WHOLE = [
    png_with(chunk(b"eXIf", NOTES[6:]), chunk(b"tEXt", b"Comment\0hello"), chunk(b"acTL", b"\0\0\0\2\0\0\0\0")),
    noise(24),
    picture("PNG", mode="P"),
    picture("PNG", mode="LA"),
    jpeg_with(segment(0xE1, NOTES), segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 40), segment(0xFE, b"hello")),
    picture("JPEG", 40, 30, progressive=True),
    jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0\x01\xb0\4\0\1\0\0\0\2\0\0\0\0\0\0\0")),
    gif_with(b"!\xfe\x05hello\0", b"!\xf9\4\1\0\0\0\0", b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"),
    webp_with(b"EXIF", NOTES),
    noise(24, "WEBP"),
    picture("BMP"),
    picture("BMP", mode="P"),
]
ODD = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", b"\xff\xd8", b"!\xfe\xff")


def mutated(chance: random.Random) -> bytes:
    """Give one of the images with a few of its bytes changed, repeated, removed or taken from another."""
    content = bytearray(chance.choice(WHOLE))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at, length = chance.randrange(len(content)), chance.choice((1, 2, 4, 12, 60))
        act = chance.randrange(6)
        if act < 2:
            content[at] ^= 1 << chance.randrange(8)
        elif act == 2:
            content[at : at + len(odd)] = (odd := chance.choice(ODD))
        elif act == 3:
            content[at:at] = content[at : at + length] * chance.choice((1, 2, 40))
        elif act == 4:
            del content[at : at + length]
        else:
            other = chance.choice(WHOLE)
            content[at : at + length] = other[at : at + length]
        content = content or bytearray(b"\0")
    return bytes(content)


def asked(chance: random.Random) -> dict[str, Any]:
    """Give what a job may ask for."""
    choices = {
        "width": (None, 1, 30, 300),
        "height": (None, 1, 30),
        "fit": ("contain", "cover", "stretch"),
        "format": (None, "jpeg", "png", "webp"),
    }
    return {name: chance.choice(values) for name, values in choices.items()}


def test_a_mutated_image_ends_in_success_or_for_good_in_a_process_that_lives_on(tmp_path):
    config, chance = settings(storage_url=tmp_path.as_uri(), log_level="ERROR"), random.Random(SEED)
    kind, ends, pids = load_kinds(config)["resize_image"], Counter[str](), set[int]()

    with closing(Children(config)) as children:

        def run(payload: dict[str, Any]) -> Outcome:
            assert children.take_place()
            return run_one(kind, JobContext(a_job("resize_image", payload), config), children.run)

        for number in range(IMAGES):
            content = mutated(chance)
            payload = {"source": "data:;base64," + base64.b64encode(content).decode(), **asked(chance)}
            outcome = run(payload)
            what = f"image {number} of seed {SEED}: {outcome} of {payload}"
            assert outcome.verb is Verb.COMPLETE or (outcome.verb is Verb.FAIL and outcome.delay is None), what
            assert "memory" not in (outcome.error or "").lower(), what
            ends[outcome.verb] += 1
            pids.update(children.pids())
            for written in tmp_path.iterdir():
                written.unlink()

    print(f"{IMAGES} images of seed {SEED}: {dict(ends)}, in {len(pids)} processes")
    assert len(ends) == 2
    assert len(pids) <= 1 + IMAGES // 10_000
