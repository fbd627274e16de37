"""What pages may cost: section by section of docs/dashboard.md, beside many jobs. It ...

BUDGET_SCALE=1 is 1 M live and 10 M finished jobs, which take minutes to make; by default it is a hundredth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from lab.bench.harness import Bench
from lab.bench.measures.dashboard import LIVE, Visitor, visiting
from lab.dashboard import HOME, Pages
from lab.servers import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SCALE = float(os.environ.get("BUDGET_SCALE", "0.01"))
READS = 20
PAGE_MILLISECONDS, POLL_MILLISECONDS = 150.0, 5.0
PAGE_BYTES, STYLE_BYTES, SCRIPT_BYTES, FIRST_LOAD_BYTES = 60_000, 26 * 1024, 24 * 1024, 150_000


@pytest.fixture(scope="module")
def looked(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visitor, Pages]]:
    """Give somebody at the dashboard, and its pages."""
    with visiting(Bench(Postgres(postgres, None), tmp_path_factory.mktemp("bench"), SCALE)) as found:
        yield found


def high(taken: list[float]) -> float:
    """Return the 95th percentile; on a machine that does much else at a small scale, the median is telling enough."""
    return sorted(taken)[int(len(taken) * 0.95)] if SCALE >= 1 else median(taken)


def test_makes_each_page_in_its_time_for_the_first_who_looks(looked: tuple[Visitor, Pages]) -> None:
    visitor, pages = looked
    slow = {}
    for path in pages.all:
        taken = []
        for _ in range(READS):
            visitor.forget()
            taken.append(visitor.get(path)[1])
        if high(taken) > PAGE_MILLISECONDS:
            slow[path] = high(taken)

    assert slow == {}
    assert pages.unreached == []


def test_answers_a_poll_with_nothing_new_at_once_and_without_a_body(looked: tuple[Visitor, Pages]) -> None:
    visitor, pages = looked
    slow, live = {}, 0
    for path in pages.all:
        text = visitor.get(path)[0].text
        if "data-live-every" not in text:
            continue
        live += 1
        [seen] = re.findall(r'data-seen="(\w+)"', text)
        polls = [visitor.get(path, Haulier_Live=seen) for _ in range(READS)]
        same = [took for answer, took in polls if answer.status_code == 204]
        assert same, path
        if high(same) > POLL_MILLISECONDS:
            slow[path] = high(same)

    assert slow == {}
    assert live > 3
    assert LIVE == "Haulier-Live"


def test_sends_no_page_that_is_larger_than_it_may_be(looked: tuple[Visitor, Pages]) -> None:
    visitor, pages = looked
    # Charts and their tables are counted apart.
    plain = {
        path: len(re.sub(r"(?s)<svg.*?</svg>|<details class=\"data\".*?</details>", "", text).encode())
        for path in pages.all
        if (text := visitor.get(path)[0].text)
    }

    assert {path: byte_count for path, byte_count in plain.items() if byte_count > PAGE_BYTES} == {}


def test_needs_four_requests_for_a_first_page_and_little_for_each(looked: tuple[Visitor, Pages]) -> None:
    visitor, _ = looked
    page = visitor.session.get(f"{visitor.url}{HOME}")
    files = re.findall(r'<(?:link rel="stylesheet" href|script src)="([^"]+)"', page.text)
    sizes = {Path(file.partition("?")[0]).suffix: 0 for file in files}
    for file in files:
        answer = visitor.session.get(f"{visitor.url}{file}")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        sizes[Path(file.partition("?")[0]).suffix] += len(answer.content)

    assert len(files) == 3
    assert sizes[".css"] <= STYLE_BYTES
    assert sizes[".js"] <= SCRIPT_BYTES
    assert sum(sizes.values()) + len(page.content) <= FIRST_LOAD_BYTES
