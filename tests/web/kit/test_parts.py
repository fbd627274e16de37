"""The parts of pages that need no database: numbers, times, charts, searches, JSON, what happened to a job: it ..."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Flask
from hypothesis import given
from hypothesis import strategies as some
from markupsafe import Markup

from app.web.kit.ages import fill
from app.web.kit.job_list_url import LIMITS, read_look, read_search
from app.web.kit.static_files import FOLDER, files
from app.web.kit.templates import FOLDER as TEMPLATES
from app.web.kit.templates import environment, time_element
from app.web.kit.viewer import Preferences
from app.web.words import charts
from app.web.words.acts import WORDS as ACTS_IN_WORDS
from app.web.words.charts import Chart, Series
from app.web.words.filters import moment, read_duration, read_time
from app.web.words.history import _LINES, lines, summary
from app.web.words.pretty_json import MOST_CHARACTERS, printed
from haulier.config import SECRET_NAMES
from haulier.domain.act import Act
from haulier.domain.job import JobStatus
from haulier.domain.schedules.time_zone import zone
from haulier.domain.text import number
from haulier.domain.timeline import Step, What, Why
from tests.web.browsing import SAME, read

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)


def test_says_how_long_ago_a_time_is_or_when_it_was() -> None:
    def said(**before: int) -> str:
        return read(fill(time_element(NOW - timedelta(**before), Preferences(), NOW), NOW)).text

    assert said() == "now"
    assert said(seconds=2) == "2 s ago"
    assert said(minutes=3, seconds=59) == "3 min ago"
    assert said(hours=-11) == "in 11 h"
    assert said(days=1, hours=1) == "25 Nov 13:03:05"
    assert said(days=400) == "22 Oct 2025 14:03:05"


def test_dates_a_time_of_the_day_unless_that_is_today_for_the_viewer() -> None:
    at, tokyo = datetime(2026, 11, 26, 14, 3, 4, 170_000, tzinfo=UTC), zone("Asia/Tokyo")
    late = at + timedelta(hours=3)

    assert [moment(at, UTC, now) for now in (NOW, late)] == ["14:03:04.1"] * 2
    assert [moment(at, tokyo, now) for now in (NOW, late)] == ["23:03:04.1", "26 Nov 23:03:04.1"]
    assert moment(at.replace(year=2025), UTC, NOW) == "26 Nov 2025 14:03:04.1"


def test_reads_durations_and_times() -> None:
    durations = {text: read_duration(text) for text in ("10m", "2 h", "1d", "x", "-1h")}
    odd = ("soon", "", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00+12:00")

    assert [found and found.total_seconds() for found in durations.values()] == [600, 7200, 86_400, None, None]
    assert read_time("2026-11-26T12:00", UTC) == datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert read_time("2026-11-26T12:00+02:00", UTC) == datetime(2026, 11, 26, 10, tzinfo=UTC)
    assert [read_time(text, UTC) for text in odd] == [None] * 4


def chart(*series: Series) -> Chart:
    return Chart("Jobs", "a minute", series, ["12:00", "12:01", "12:02"], 'up "and" <down>')


def test_has_all_its_numbers_as_a_table_and_no_style() -> None:
    found = chart(Series("A", "queued", [1, None, 10_000], "area"))

    page = read(charts.plot(found, number) + charts.legend(found, number) + charts.table(found, number))

    rows = [[cell.text for cell in row.below() if cell.tag in ("th", "td")] for row in page.all("tr")]
    assert rows == [["Time", "A"], ["12:00", "1"], ["12:01", "–"], ["12:02", "10,000"]]
    assert page.all("div", class_="area")[0].attrs["aria-label"] == 'up "and" <down> Arrow keys read it.'
    assert [each for each in page.below() if "style" in each.attrs] == []


def test_cuts_off_a_spike_marks_it_and_keeps_its_number_in_the_table() -> None:
    times = [f"12:{minute:02}" for minute in range(60)]
    flood = Chart("Jobs", "", [Series("A", "text", [100.0] * 58 + [300_000.0, 90.0])], times, "", is_partial=True)
    steady = Chart("Jobs", "", [Series("A", "text", [100.0] * 30 + [390.0] * 30)], times, "")

    page = read(charts.figure(flood, number))

    axis = page.all("div", class_="y")[0]
    assert [each.text for each in axis.below()] == ["150", "75", "0"]
    assert [len(found) for found in (page.all("path", class_="over"), page.all("path", class_="now"))] == [1, 1]
    assert [row.text for row in page.all("tr")][-2:] == ["12:58 300,000", "12:59 so far 90"]
    # The legend shows the last minute that is over.
    assert page.all("ul", class_="legend")[0].text.strip() == "A 300,000"
    assert 'class="over"' not in charts.plot(steady, number)


def test_draws_a_small_chart_in_few_wide_columns_of_all_its_values() -> None:
    [late] = read(charts.spark(charts.summed([0] * 59 + [3]), "failed", "")).all("svg")

    assert late.attrs["viewbox"] == "0 0 15 100"
    assert late.all("path")[0].attrs["d"] == "M0 100V100h14V0h1V100z"
    assert sum(charts.summed([1] * 168)) == 168


def test_writes_an_axis_in_few_characters() -> None:
    values = (0, 950, 9_999, 10_000, 200_000, 1_500_000, 25e9)

    assert [charts.short(value) for value in values] == ["0", "950", "9,999", "10 k", "200 k", "1.5 M", "25 G"]


@given(some.floats(min_value=0, max_value=1e15))
def test_ends_at_a_round_number_that_nothing_exceeds(most: float) -> None:
    top = charts.ceiling(most)

    assert most <= top <= max(1, 2.5 * most)


@given(some.lists(some.one_of(some.none(), some.floats(0, 1e9)), min_size=3, max_size=3))
def test_draws_any_numbers_within_its_box(values: list[float | None]) -> None:
    for look in ("line", "area", "columns"):
        drawn = charts.plot(chart(Series("A", "queued", values, look)), number)
        assert isinstance(drawn, Markup)
        assert "nan" not in drawn
        assert "inf" not in drawn


@given(some.lists(some.floats(min_value=0, max_value=1e9), max_size=400))
def test_divides_a_strip_by_time_into_widths_that_are_the_whole(seconds: list[float]) -> None:
    found = charts.widths(seconds)

    # Of a day and a moment the moment can still be seen.
    assert charts.widths([86_400.0, 0.001, 86_400.0]) == [498, 4, 498]
    assert found == [] if sum(seconds) == 0 else sum(found) == charts.STRIP
    assert [width for width in found if width < 0] == []


TEXT = some.text(some.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)
NAME = some.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)
FILTERS = some.fixed_dictionaries(
    {},
    optional={
        "status": some.lists(some.sampled_from(list(map(str, JobStatus))), min_size=1, max_size=3, unique=True),
        "kind": some.lists(NAME, min_size=1, max_size=3, unique=True),
        "queue": some.lists(NAME, min_size=1, max_size=3, unique=True),
        "tag": some.lists(TEXT, min_size=1, max_size=2, unique=True),
        "error": some.from_regex(r"[0-9a-f]{16}", fullmatch=True).map(lambda text: [text]),
        "after": some.sampled_from([["2h"], ["2026-11-26T12:00"]]),
        "payload.a.b": TEXT.map(lambda text: [text]),
        "limit": some.sampled_from(LIMITS).map(lambda limit: [str(limit)]),
    },
)


@given(FILTERS)
def test_comes_back_from_a_url_as_it_went_into_it(filters: dict[str, list[str]]) -> None:
    look = read_look(filters.items())

    again: dict[str, list[str]] = {}
    for name, text in look.query():
        again.setdefault(name, []).append(text)
    assert read_look(again.items()) == look
    assert look.odd == ()
    assert look.asked(UTC, NOW)["kind"] == filters.get("kind")


@given(some.text(max_size=200))
def test_reads_any_search(text: str) -> None:
    found = read_search(text)

    assert found.job is None or isinstance(found.job, UUID)
    read_look([(name, [value]) for name, value in found.pairs]).asked(UTC, NOW)


@given(
    some.recursive(
        some.none()
        | some.booleans()
        | some.integers()
        | some.floats(allow_nan=False, allow_infinity=False)
        | some.text(),
        lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    )
)
def test_prints_json_that_is_the_same(value: object) -> None:
    found = printed(json.dumps(value).encode(), is_whole=True)

    assert json.loads("".join(text for _, text in found.pieces)) == value
    assert not found.is_cut


def test_cuts_what_is_long_and_counts_what_it_hides() -> None:
    long = printed(json.dumps(["x" * 100] * 2000).encode())
    secret = printed(b'{"a": {"Api-Key": "swordfish", "token": null, "n": 1}}', hides=SECRET_NAMES)

    assert long.is_cut
    assert sum(len(text) for _, text in long.pieces) == MOST_CHARACTERS
    assert secret.hidden == 1
    assert "swordfish" not in str(secret.pieces)


def test_serves_its_files_for_ever_by_their_hash_and_never_under_another(site: Flask) -> None:
    client = site.test_client()
    style = files()["app.css"]

    kept = {
        query: client.get(f"/ui/static/app.css{query}", headers=SAME).headers["Cache-Control"]
        for query in ("", f"?v={style.version}", "?v=00000000")
    }
    answer = client.get("/ui/static/app.css")

    assert kept == {
        "": "public, max-age=3600",
        f"?v={style.version}": "public, max-age=31536000, immutable",
        "?v=00000000": "no-store",
    }
    assert (answer.data, answer.headers["X-Content-Type-Options"]) == (style.content, "nosniff")
    assert [client.get(f"/ui/static/{name}").status_code for name in ("vendor/SOURCE", "../gate.py", "x.css")] == [
        404
    ] * 3


def test_has_the_script_of_others_as_they_published_it() -> None:
    vendor = FOLDER / "vendor"
    said = dict(re.findall(r"^(\S+): (.+)$", (vendor / "SOURCE").read_text(), re.MULTILINE))
    [digest] = re.findall(r"SHA-256 ([0-9a-f]{64})", (vendor / "SOURCE").read_text())

    assert set(said) == {"idiomorph.min.js"}
    assert hashlib.sha256((vendor / "idiomorph.min.js").read_bytes()).hexdigest() == digest
    assert "Zero-Clause BSD" in (vendor / "idiomorph.LICENSE").read_text()


def test_escapes_everything_but_what_draws() -> None:
    sources = {path.name: path.read_text() for path in FOLDER.parent.rglob("*.html")}
    code = {path.name: path.read_text() for path in FOLDER.parent.rglob("*.py")}

    assert [name for name, text in sources.items() if "|safe" in text.replace(" ", "")] == []
    assert [name for name, text in code.items() if "Markup(" in text] == ["charts.py"]
    assert environment().autoescape is True
    assert [name for name, text in sources.items() if re.search(r"\sstyle=|\son[a-z]+=|javascript:", text)] == []


# What happened to a job


AT = datetime(2026, 11, 26, tzinfo=UTC)
RETRIED, WAITED, BEGAN = What.RETRIED, What.WAITED, What.BEGAN


def test_says_every_step_and_act_in_words() -> None:
    known = [Step(AT, what, why=Why.TURN, by="ann", worker="dock:7", attempt=2, seconds=1.0) for what in [*What, *Act]]

    assert [line for line in lines(known) if not line.head] == []
    assert set(_LINES) == set(What)
    assert lines([Step(AT, "newer_act")])[0].head == "Newer act"


def test_says_every_act_of_the_audit_and_names_each_actor() -> None:
    """An actor in a template goes through `who`, which knows the name of an API key."""
    shown = re.compile(r"(?<!=\")\{\{ *[\w.]*(?:actor|_by|\.by)\b[^}]*\}\}")
    texts = {path.name: path.read_text() for path in TEMPLATES.glob("*.html")}
    plain = [f"{name}: {each}" for name, text in texts.items() for each in shown.findall(text)]

    assert plain == []
    assert set(ACTS_IN_WORDS) == set(Act)


def test_says_for_what_a_job_waited_and_how_long() -> None:
    def said(seconds: float | None, due: float | None, why: Why = Why.TURN) -> str:
        due_at = None if due is None else AT + timedelta(seconds=due)
        return lines([Step(AT, WAITED, why=why, seconds=seconds, due_at=due_at)])[0].rest

    assert said(90.0, 0) == said(0.1, None) == said(None, 0) == "for a worker"
    # Nobody knows when it was due.
    assert said(90.0, None) == said(None, 60) == "for its due time and a worker"
    assert said(90.0, 60) == "for its due time, 1 min, then 30 s for a worker"
    assert said(8.7, 8.4, Why.BACK_OFF) == "for its back-off, 8.4 s, then 300 ms for a worker"
    # It was cancelled before.
    assert said(5.0, 60, Why.SNOOZED) == "for its snooze"
    assert said(5.0, 0, Why.GIVEN_BACK) == "for a worker, after a worker returned it"


def test_says_how_long_a_job_waited_and_ran_if_that_is_known() -> None:
    def said(seconds: float, *known: tuple[What, Why | None, float | None]) -> str:
        return summary([Step(AT, what, why=why, seconds=took) for what, why, took in known], seconds)

    turn, failed = (WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0)
    again = ((WAITED, Why.BACK_OFF, 60.0), (BEGAN, None, None), (What.SUCCEEDED, None, 3.0))
    assert said(66.0, turn, failed, *again) == "1 min 6 s: waited 1 min 2 s, ran 4.0 s"
    # It was retried by hand a minute after it had failed.
    assert said(63.0, turn, failed, (RETRIED, None, None)) == ""
    assert said(3.0, (WAITED, Why.NOT_KNOWN, 2.0), (What.SUCCEEDED, None, 1.0)) == ""
