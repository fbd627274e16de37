"""summarize_text: what it picks, and that it always picks the same."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from haulier.domain.outcome import MAX_RESULT_BYTES
from haulier.kinds import Fail
from haulier.kinds.summarize_text import STOP_WORDS
from tests.kinds.kinds_tools import run

HARBOUR = (
    "It was a quiet morning. The harbour of Bremen handles containers from every ocean, and the harbour grows. "
    "Somebody had forgotten an umbrella. Cranes in the harbour lift the containers day and night. "
    "Lunch is at noon. Without cranes no containers would leave the harbour at all. The coffee was good."
)


def test_sentences_that_carry_the_texts_own_words_are_picked_in_their_order() -> None:
    result = run("summarize_text", {"text": HARBOUR, "sentences": 2, "language": "en"})

    assert result == {
        "summary": "Cranes in the harbour lift the containers day and night. "
        "Without cranes no containers would leave the harbour at all.",
        "sentences": 2,
    }


def test_three_sentences_are_the_default() -> None:
    assert run("summarize_text", {"text": HARBOUR, "sentences": None})["sentences"] == 3


def test_same_text_gives_the_same_summary() -> None:
    assert len({json.dumps(run("summarize_text", {"text": HARBOUR})) for _ in range(5)}) == 1


def test_short_text_is_its_own_summary() -> None:
    assert run("summarize_text", {"text": "  Just   this.  "}) == {"summary": "Just this.", "sentences": 1}


@pytest.mark.parametrize("text", [" ", "\n\n\n", "\t \n"])
def test_text_without_a_word_has_an_empty_summary(text: str) -> None:
    assert run("summarize_text", {"text": text}) == {"summary": "", "sentences": 0}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ('He said "no." She said "yes!" They left.', ['He said "no."', 'She said "yes!"', "They left."]),
        ("A line\nthat goes on.\n\nA heading\n\nThe rest.", ["A line that goes on.", "A heading", "The rest."]),
        ("Version 1.5 is out. It is 3.5 times faster.", ["Version 1.5 is out.", "It is 3.5 times faster."]),
        ("See e.g.  the manual.  Then ask.", ["See e.g. the manual.", "Then ask."]),
        ("今日は晴れ。明日は雨！本当？", ["今日は晴れ。", "明日は雨！", "本当？"]),
        ("Es schneit. Übermorgen taut es.", ["Es schneit.", "Übermorgen taut es."]),
    ],
)
def test_text_is_divided_into_sentences(text: str, sentences: list[str]) -> None:
    assert run("summarize_text", {"text": text, "sentences": 50}) == {
        "summary": " ".join(sentences),
        "sentences": len(sentences),
    }


def test_language_is_found_out() -> None:
    german = (
        "Der Hafen ist groß. Und die und der und das und die. Im Hafen liegen die Schiffe, und der Hafen wächst. "
        "Die Schiffe im Hafen warten."
    )

    assert run("summarize_text", {"text": german, "sentences": 1}) == run(
        "summarize_text", {"text": german, "sentences": 1, "language": "de"}
    )
    assert "Und die und" not in run("summarize_text", {"text": german, "sentences": 1})["summary"]


@pytest.mark.parametrize("language", sorted(STOP_WORDS))
def test_common_words_alone_carry_no_weight(language: str) -> None:
    words = STOP_WORDS[language].split()
    text = f"{' '.join(words[:12]).capitalize()}. Zeppelin zeppelin. {' '.join(words[12:24]).capitalize()}."

    assert (
        run("summarize_text", {"text": text, "sentences": 1, "language": language})["summary"] == "Zeppelin zeppelin."
    )


@pytest.mark.parametrize(
    "text",
    ["x" * 250_000, "x. " * 80_000, " " * 250_000, ". " * 120_000, "\n" * 250_000, "漢" * 80_000, ".\"' " * 60_000],
)
def test_longest_texts_are_done_soon_and_their_result_can_be_stored(text: str) -> None:
    started = time.process_time()

    result = run("summarize_text", {"text": text, "sentences": 50})

    assert time.process_time() - started < 5
    assert len(json.dumps(result, ensure_ascii=False).encode()) < MAX_RESULT_BYTES


def test_fifty_long_sentences_fit_into_a_result() -> None:
    text = " ".join("Ж" * 2000 + "." for _ in range(50))

    result = run("summarize_text", {"text": text, "sentences": 50})

    assert 5 < result["sentences"] < 50
    assert len(json.dumps(result, ensure_ascii=False).encode()) < MAX_RESULT_BYTES


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "a", "sentences": "3"}, "sentences"),
        ({"text": "a", "sentences": 2.9}, "sentences"),
        ({"text": "a", "sentences": True}, "sentences"),
        ({"text": "a", "sentences": 0}, "sentences"),
        ({"text": "a", "sentences": 51}, "sentences"),
        ({"text": "a", "language": "xx"}, "language"),
        ({"text": "a", "max": 1}, "max"),
    ],
)
def test_payload_that_does_not_fit_is_final_and_names_the_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(Fail, match=f"the payload does not fit summarize_text: {field}: "):
        run("summarize_text", payload)
