"""What is shown to people: it ..."""

from __future__ import annotations

from haulier.domain.text import cut, duration, number, share, size

DURATIONS = {
    None: "–", -3: "0 ms", 0: "0 ms", 0.34: "340 ms", 0.9996: "1.0 s", 4.2: "4.2 s", 9.96: "10 s", 59.4: "59 s",
    59.99: "60 s", 60: "1 min", 372: "6 min 12 s", 3599.6: "1 h", 12_000: "3 h 20 min", 86_400: "24 h",
    172_799: "47 h 59 min", 172_800: "2 days", 345_600: "4 days",
}  # fmt: skip


def test_cuts_what_is_longer_and_says_so_within_the_length() -> None:
    texts = {
        "": "", "exactly 10": "exactly 10", "more than 10": "more than…", "eight or nine": "eight or…",
        "ä" * 11: "ä" * 9 + "…",
    }  # fmt: skip

    assert {text: cut(text, 10) for text in texts} == texts


def test_writes_sizes_as_postgres_does() -> None:
    sizes = {0: "0 bytes", 10_239: "10239 bytes", 10_240: "10 kB", 3 * 2**30: "3072 MB", 2**60: "1048576 TB"}

    assert {byte_count: size(byte_count) for byte_count in sizes} == sizes


def test_writes_numbers() -> None:
    numbers = {None: "–", 0: "0", 1284: "1,284", 9_999_999: "9,999,999", 10_100_000: "10.1 M", -2e7: "-20.0 M"}

    assert {value: number(value) for value in numbers} == numbers


def test_writes_shares() -> None:
    shares = {
        (0, 0): "–", (1, 0): "–", (0, 9): "0.0 %", (1, 5000): "< 0.1 %", (3, 1000): "0.3 %", (91, 100): "91 %",
    }  # fmt: skip

    assert {(part, whole): share(part, whole) for part, whole in shares} == shares


def test_writes_durations() -> None:
    assert {seconds: duration(seconds) for seconds in DURATIONS} == DURATIONS
