"""The code, its templates and the pages are free of the turns of phrase that tools/plain_english.py finds."""

from __future__ import annotations

import runpy

from tests.architecture.reading import ROOT

TOOL = runpy.run_path(str(ROOT / "tools/plain_english.py"))

# A sentence with each turn of phrase, and a harmless one with the same words.
EXAMPLES = [
    ("It waits, where it is paused.", "It waits in `var`, where `make run` keeps data."),
    ("It stops. Where it is off, nothing is counted.", "Where to look: the log."),
    ("The page tells what failed.", "The worker was told to stop."),
    ("Its name is that of the queue.", "The name of the queue and those of its jobs."),
    ("Return so many jobs.", "So many jobs that it takes long; it happens every so often."),
    ("It waits so long at most.", "Do so, so long transactions end."),
    ("This is for tests alone.", "The others are left alone, and this runs alone, as it ran alone before."),
    ("The job fails for good.", "That is good for all."),
    ("The worker goes on with the rest.", "The rest is an ongoing task."),
    ("The queue was lately used.", "The job is late."),
    ("It is drawn anew.", "It is new."),
    ("Use this in the place of the key.", "Put it in a place of the disk."),
    ("That is no number.", "There is no number in it."),
    ("The job is tried again.", "Wait and try again."),
    ("Run it in a process of its own.", "It is on its own."),
    ("No worker lives.", "A live worker."),
    ("It ends. Neither a time nor a name is kept.", "The job is neither late nor paused."),
]


def test_finds_each_turn_of_phrase_and_no_harmless_one():
    found = [[find.words for find in TOOL["turns_in"]("a.md", text)] for text, _ in EXAMPLES]
    harmless = [find.words for _, text in EXAMPLES for find in TOOL["turns_in"]("a.md", text)]

    assert [len(each) for each in found] == [1] * len(TOOL["TURNS"])
    assert harmless == []


def test_reads_prose_across_lines_and_skips_code():
    python = 'for_good = 1  # It is tried\n#   again.\n"""So `for good` is\n  this alone."""\n'
    sql = "SELECT anew -- for\n-- good\n"

    assert [(find.line, find.words) for find in TOOL["turns_in"]("a.py", python)] == [
        (4, "alone"),
        (2, "is tried again"),
    ]
    assert [(find.line, find.words) for find in TOOL["turns_in"]("a.sql", sql)] == [(2, "for good")]


def test_code_templates_and_pages_are_plain():
    assert [f"{path}:{line}: {words}" for path, line, words, _ in TOOL["finds"](TOOL["CHECKED"])] == []
