"""summarize_text: what it picks."""

from __future__ import annotations

import json
import time

from haulier.domain.outcome import MAX_RESULT_BYTES
from haulier.kinds.included.summarize_text import STOP_WORDS
from tests.kinds.kinds_tools import run

HARBOUR = (
    "It was a quiet morning. The harbour of Bremen handles containers from every ocean, and the harbour grows. "
    "Somebody had forgotten an umbrella. Cranes in the harbour lift the containers day and night. "
    "Lunch is at noon. Without cranes no containers would leave the harbour at all. The coffee was good."
)


def test_sentences_that_carry_the_texts_own_words_are_picked_in_their_order():
    result = run("summarize_text", {"text": HARBOUR, "sentences": 2, "language": "en"})

    assert result == {
        "summary": "Cranes in the harbour lift the containers day and night. "
        "Without cranes no containers would leave the harbour at all.",
        "sentences": 2,
    }


def test_three_sentences_are_the_default():
    assert run("summarize_text", {"text": HARBOUR, "sentences": None})["sentences"] == 3


def test_short_text_is_its_own_summary_and_blank_text_has_none():
    assert run("summarize_text", {"text": "  Just   this.  "}) == {"summary": "Just this.", "sentences": 1}
    for text in (" ", "\n\n\n", "\t \n"):
        assert run("summarize_text", {"text": text}) == {"summary": "", "sentences": 0}


def test_text_is_divided_into_sentences():
    for text, sentences in (
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ('He said "no." She said "yes!" They left.', ['He said "no."', 'She said "yes!"', "They left."]),
        ("A line\nthat goes on.\n\nA heading\n\nThe rest.", ["A line that goes on.", "A heading", "The rest."]),
        ("Version 1.5 is out. It is 3.5 times faster.", ["Version 1.5 is out.", "It is 3.5 times faster."]),
        ("See e.g.  the manual.  Then ask.", ["See e.g. the manual.", "Then ask."]),
        ("今日は晴れ。明日は雨！本当？", ["今日は晴れ。", "明日は雨！", "本当？"]),
        ("Es schneit. Übermorgen taut es.", ["Es schneit.", "Übermorgen taut es."]),
    ):
        result = run("summarize_text", {"text": text, "sentences": 50})

        assert result == {"summary": " ".join(sentences), "sentences": len(sentences)}


def test_language_is_found_out():
    german = (
        "Der Hafen ist groß. Und die und der und das und die. Im Hafen liegen die Schiffe, und der Hafen wächst. "
        "Die Schiffe im Hafen warten."
    )

    assert run("summarize_text", {"text": german, "sentences": 1}) == run(
        "summarize_text", {"text": german, "sentences": 1, "language": "de"}
    )
    assert "Und die und" not in run("summarize_text", {"text": german, "sentences": 1})["summary"]


def test_common_words_alone_carry_no_weight():
    for language in STOP_WORDS:
        words = STOP_WORDS[language].split()
        text = f"{' '.join(words[:12]).capitalize()}. Zeppelin zeppelin. {' '.join(words[12:24]).capitalize()}."

        summary = run("summarize_text", {"text": text, "sentences": 1, "language": language})["summary"]

        assert summary == "Zeppelin zeppelin.", language


def test_longest_texts_are_done_soon_and_their_result_can_be_stored():
    long_sentences = " ".join("Ж" * 2000 + "." for _ in range(50))
    results = {}
    for text in (
        *("x" * 250_000, "x. " * 80_000, " " * 250_000, ". " * 120_000, "\n" * 250_000, "漢" * 80_000),
        *(".\"' " * 60_000, long_sentences),
    ):
        started = time.process_time()

        results[text] = run("summarize_text", {"text": text, "sentences": 50})

        assert time.process_time() - started < 5, text[:10]
        assert len(json.dumps(results[text], ensure_ascii=False).encode()) < MAX_RESULT_BYTES
    assert 5 < results[long_sentences]["sentences"] < 50
