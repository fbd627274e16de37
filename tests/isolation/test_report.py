"""The table of what holds. It ..."""

from __future__ import annotations

import re

import pytest

from tests.docs.reading import section
from tests.isolation import findings, report
from tests.isolation.conftest import IS_LONG


def test_says_of_each_case_once_what_happens_now():
    assert [row for row in report.ROWS if sum(map(bool, (row.shown_as, row.promise, row.now))) != 1] == []


@pytest.mark.skipif(IS_LONG, reason="is drawn when this run has ended")
def test_stands_in_the_docs_as_the_last_run_has_shown_it():
    [drawn] = re.findall(r"<!-- bulkheads -->\n(.*?)<!--", section("docs/reliability.md", "## Bulkheads"), re.DOTALL)

    assert drawn.strip() == report.table(findings.load())


def test_says_what_was_not_shown_and_adds_up_what_was_shown_in_parts(tmp_path):
    kept = tmp_path / "results.json"

    for part in ("claim", "claim", "settle"):
        findings.record("every statement", "all ended", part=part, file=kept)

    drawn = report.table(findings.load(kept))
    assert "| 3 cases of 2 kinds: all ended |" in drawn
    assert f"| big orphans: {report.NOT_SHOWN} |" in drawn
