"""The parts of pages that need no database: numbers, times, charts, searches, JSON: it ..."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as some
from markupsafe import Markup

from app.web import charts
from app.web.ages import fill
from app.web.charts import Chart, Series
from app.web.history import _TOLD, lines
from app.web.job_list_url import LIMITS, Look, read_look, read_search
from app.web.printed import MOST_CHARACTERS, printed
from app.web.return_to import checked
from app.web.static_files import FOLDER, files
from app.web.templates import environment, time_element
from app.web.times import read_duration, read_time
from app.web.viewer import Preferences
from haulier.config import SECRET_NAMES
from haulier.domain.act import Act
from haulier.domain.job import JobStatus
from haulier.domain.text import number
from haulier.domain.timeline import Step, What, Why
from tests.web.browsing import SAME, read

NOW = datetime(2026, 11, 26, 14, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(0), "now"),
        (timedelta(seconds=2), "2 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=-11), "in 11 h"),
        (timedelta(days=1, hours=1), "25 Nov 13:03:05"),
        (timedelta(days=400), "22 Oct 2025 14:03:05"),
    ],
)
def test_tells_a_time(before: timedelta, text: str) -> None:
    element = time_element(NOW - before, Preferences(), NOW)

    assert read(fill(element, NOW)).text == text


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("2 h", 7200), ("1d", 86_400), ("x", None), ("-1h", None)])
def test_reads_a_duration(text: str, seconds: float | None) -> None:
    found = read_duration(text)

    assert (found and found.total_seconds()) == seconds


def test_reads_a_time_in_a_zone() -> None:
    assert read_time("2026-11-26T12:00", UTC) == datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert read_time("2026-11-26T12:00+02:00", UTC) == datetime(2026, 11, 26, 10, tzinfo=UTC)
    assert [read_time(text, UTC) for text in ("soon", "", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00+12:00")] == [
        None
    ] * 4


# Charts


def chart(*series: Series) -> Chart:
    return Chart("Jobs", "a minute", series, ["12:00", "12:01", "12:02"], 'up "and" <down>')


def test_draws_columns_on_top_of_each_other_and_lines_with_gaps() -> None:
    found = chart(Series("Good", "succeeded", [1, 2, 0], "columns"), Series("Bad", "failed", [1, 0, 0], "columns"))
    gaps = chart(Series("Time", "running", [1.0, None, 3.0], "line", "dash"))

    assert 'd="M1 100h8v-50h-8zM11 100h8v-100h-8z"' in charts.plot(found, number)
    assert 'd="M1 50h8v-50h-8z"' in charts.plot(found, number)
    assert 'class="l s-running dash" d="M5 66.67M25 0"' in charts.plot(gaps, number)


def test_has_all_its_numbers_as_a_table_and_no_style() -> None:
    found = chart(Series("A", "queued", [1, None, 10_000], "area"))

    page = read(charts.plot(found, number) + charts.legend(found, number) + charts.table(found, number))

    rows = [[cell.text for cell in row.below() if cell.tag in ("th", "td")] for row in page.all("tr")]
    assert rows == [["Time", "A"], ["12:00", "1"], ["12:01", "–"], ["12:02", "10,000"]]
    assert page.all("div", class_="area")[0].given["aria-label"] == 'up "and" <down>'
    assert [each for each in page.below() if "style" in each.given] == []


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


SECONDS = some.lists(some.floats(min_value=0, max_value=1e9), max_size=400)


@given(SECONDS)
def test_divides_a_strip_into_widths_that_are_the_whole(seconds: list[float]) -> None:
    found = charts.widths(seconds)

    assert found == [] if sum(seconds) == 0 else sum(found) == charts.STRIP
    assert [width for width in found if width < 0] == []


@pytest.mark.parametrize(
    ("seconds", "widths"),
    [
        ([], []),
        ([0.0, 0.0], []),
        ([7.0], [1000]),
        ([1.0, 3.0], [252, 748]),
        # Of a day and a moment the moment can still be seen.
        ([86_400.0, 0.001, 86_400.0], [498, 4, 498]),
    ],
)
def test_divides_a_strip_by_time(seconds: list[float], widths: list[int]) -> None:
    assert charts.widths(seconds) == widths


def test_leaves_a_width_to_the_longest_beside_ever_so_many_moments() -> None:
    found = charts.widths([*[0.001] * 300, 1e6])

    assert (sum(found), min(found) >= 0) == (charts.STRIP, True)
    assert found[-1] > charts.STRIP / 2 - 2


def test_draws_a_strip_in_order_and_waits_low() -> None:
    drawn = charts.strip([("queued", 1.0), ("failed", 2.0), ("", 4.0), ("queued", 1.0)], "Waited <b>")

    page = read(drawn)
    assert [(each.given["class"], each.given["d"]) for each in page.all("path")] == [
        ("f-queued", "M0 4h127v4h-127zM873 4h127v4h-127z"),
        ("f-failed", "M127 0h250v12h-250z"),
    ]
    assert page.all("svg")[0].given["aria-label"] == "Waited <b>"
    assert [each for each in page.below() if "style" in each.given] == []
    assert read(charts.strip([], "Nothing")).all("path") == []


# The list's URL


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


@given(
    some.dictionaries(
        some.sampled_from(["status", "error", "worker", "after", "key", "x"]), some.lists(TEXT, min_size=1)
    )
)
def test_reads_any_parameters(filters: dict[str, list[str]]) -> None:
    look = read_look(filters.items())

    look.asked(UTC, NOW)
    assert urlencode(look.query()) is not None


@given(some.text(max_size=200))
def test_reads_any_search(text: str) -> None:
    found = read_search(text)

    assert found.job is None or isinstance(found.job, UUID)
    read_look([(name, [value]) for name, value in found.pairs]).asked(UTC, NOW)


def test_leaves_out_a_filter_alone() -> None:
    look = read_look([("queue", ["mail", "bulk"]), ("limit", ["25"])])

    assert look.without("queue", "mail") == [("queue", "bulk"), ("limit", "25")]
    assert look.with_status("queued")[0] == ("status", "queued")
    assert Look().query() == []


@pytest.mark.parametrize(
    ("place", "is_ours"),
    [
        ("/ui", True),
        ("/ui?a=b", True),
        ("/ui/jobs?queue=a%20b", True),
        ("/ui//evil.example", True),
        ("/uix", False),
        ("/ui\t//evil", False),
        ("/ui/\\evil", False),
        ("//evil/ui", False),
        ("/ui/" + "x" * 2000, False),
        ("/ui/\n", False),
    ],
)
def test_leads_nowhere_but_to_its_own_pages(place: str, is_ours: bool) -> None:
    assert checked(place) == (place if is_ours else "/ui")


# JSON


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


# What happened


def test_tells_every_step_and_act_in_words() -> None:
    steps = [Step(NOW, what, why=Why.TURN, by="ann", worker="dock:7", attempt=2, seconds=1.0) for what in [*What, *Act]]

    told = lines(steps)

    assert [line.head for line in told if not line.head] == []
    assert set(_TOLD) == set(What)
    assert lines([Step(NOW, "newer_act")])[0].head == "Newer act"


# Files


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


def test_is_small_enough() -> None:
    assert len(files()["app.css"].content) <= 28_000
    assert sum(len(file.content) for name, file in files().items() if name.endswith(".js")) <= 24_576


def test_compiles_each_template() -> None:
    names = environment().list_templates()

    assert len(names) == len(list(FOLDER.parent.rglob("*.html")))
    for name in names:
        environment().get_template(name)


def test_escapes_everything_but_what_draws() -> None:
    sources = {path.name: path.read_text() for path in FOLDER.parent.rglob("*.html")}
    code = {path.name: path.read_text() for path in FOLDER.parent.rglob("*.py")}

    assert [name for name, text in sources.items() if "|safe" in text.replace(" ", "")] == []
    assert [name for name, text in code.items() if "Markup(" in text] == ["charts.py"]
    assert environment().autoescape is True
    assert [name for name, text in sources.items() if re.search(r"\sstyle=|\son[a-z]+=|javascript:", text)] == []
