"""Charts as SVG that stretches. All text is HTML around it, because text inside would be squeezed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby, pairwise
from math import ceil, floor, log10

from markupsafe import Markup, escape

from haulier.domain.text import count, number
from haulier.queue.failures.error_groups import ErrorGroup

# Units of the viewBox: for each point, and from the bottom to the top.
STEP, HIGH = 10, 100
# A small chart has 88 pixels: a column of one of 60 minutes would be a hair.
MOST_COLUMNS = 15
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
# A value is a spike if it is this many times the largest value of the others, of which there are at least 95 %.
SPIKE, SPIKES = 4, 0.05
# The legend names this many of the releases that came.
MOST_MARKS = 3
# The width of a strip, and of its shortest part: three of 750 pixels.
STRIP, LEAST = 1000, 4.0

Say = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers.

    `state` gives its colour; look is columns, area or line; None in values is a gap. `jobs` is the list of the jobs
    that it counts, as in Span.
    """

    name: str
    state: str
    values: Sequence[float | None]
    look: str = "line"
    dash: str = ""
    jobs: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A release that came at some time."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """When the steps of a chart begin, and the list of their jobs, which people call `label`.

    `jobs` is a URL with "=FROM" and "=TO" in place of the times. `marks` are the releases that came within the span.
    """

    begins_at: datetime
    step: timedelta
    jobs: str
    label: str
    marks: Sequence[Mark] = ()

    @classmethod
    def of(cls, begins: Sequence[datetime | None], jobs: str, label: str, marks: Sequence[Mark] = ()) -> Span | None:
        """Return the span of steps that begin at these times; None if a single one does not say how long they are."""
        if len(begins) < 2 or begins[0] is None or begins[1] is None:
            return None
        first, step = begins[0], begins[1] - begins[0]
        return cls(first, step, jobs, label, [one for one in marks if first <= one.at < first + len(begins) * step])

    def place(self, mark: Mark) -> float:
        """Return where a mark stands, in steps."""
        return (mark.at - self.begins_at) / self.step

    def jobs_of(self, place: int) -> str:
        """Return the URL of the jobs of a step."""
        begins_at = self.begins_at + place * self.step
        return self.jobs.replace("=FROM", f"={instant(begins_at)}").replace("=TO", f"={instant(begins_at + self.step)}")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and its numbers as a table.

    `times` label the points, one for each value of each series; `summary` describes the chart in words. `is_partial`:
    the last point is unfinished, so it is drawn paler and the legend shows the point before. `span` leads to jobs.
    """

    title: str
    unit: str
    series: Sequence[Series]
    times: Sequence[str]
    summary: str
    is_partial: bool = False
    span: Span | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to draw."""
        return not any(value for one in self.series for value in one.values)


def instant(at: datetime) -> str:
    """Return a whole minute as filters of jobs read it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def ceiling(most: float) -> float:
    """Return the least round number that is not below it."""
    # Nothing that is drawn is so small, and there is no smaller power of ten for it.
    if most < 1e-9:
        return 1
    power = float(10.0 ** floor(log10(most)))
    return next((power * step for step in ROUND if power * step >= most), power * 10)


def figure(chart: Chart, said: Say) -> Markup:
    """Return the whole chart: its legend, its plot and its table; "" if there is nothing to draw."""
    if chart.is_empty:
        return Markup("")
    return Markup('<div class="chart">{}{}{}</div>').format(legend(chart, said), plot(chart, said), table(chart, said))


def described(chart: Chart, said: Say) -> Markup:
    """Return the plot and the table of a chart whose summary says more than a legend."""
    text = Markup('<p class="small quiet">{}</p>').format(chart.summary)
    return Markup('<div class="chart">{}{}{}</div>').format(text, plot(chart, said), table(chart, said))


def plot(chart: Chart, said: Say) -> Markup:
    """Return axes and plot. `said` writes a value as people read it. A spike is cut off at the top and marked."""
    stack = [one for one in chart.series if one.look == "columns"]
    lines = [one for one in chart.series if one.look != "columns"]
    highest = _highest(stack, lines)
    top = ceiling(_scale(highest))
    width = len(chart.times) * STEP
    drawn = _columns(stack, top) + "".join(_line(one, top) for one in lines) + _over(highest, top)
    if chart.is_partial:
        drawn += f'<path class="now" d="M{width - STEP} 0h{STEP}V{HIGH}h-{STEP}z"/>'
    drawn += _marks(chart)
    written = short if said is number else said
    keys = " Arrow keys read it" + ("; with Shift they select a time; Enter lists its jobs." if chart.span else ".")
    labels = "".join(f"<span>{escape(written(value))}</span>" for value in (top, top / 2, 0))
    few = "".join(f"<span>{escape(time)}</span>" for time in _ticks(chart.times))
    return Markup(
        f'<div class="plot"><div class="y" aria-hidden="true">{labels}</div><div class="area" data-plot tabindex="0"'
        f' role="img" aria-label="{escape(chart.summary + keys)}"><svg viewBox="0 0 {width} {HIGH}"'
        f' preserveAspectRatio="none" aria-hidden="true"><path class="grid" d="M0 0H{width}M0 50H{width}"/>{drawn}'
        f'<path class="zero" d="M0 {HIGH}H{width}"/></svg></div><div class="x" aria-hidden="true">{few}</div></div>'
    )


def _ticks(times: Sequence[str]) -> Sequence[str]:
    """Return five of the times; only their days if these differ, because a phone has no room for more."""
    some = [times[round(part * (len(times) - 1) / 4)] for part in range(5)]
    days = [time.rpartition(" ")[0] for time in some]
    return days if len(set(days)) == len(days) else some


def short(value: float) -> str:
    """Return a number for an axis, in at most five characters: 950, 12 k, 1.5 M."""
    for unit, text in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 10 * unit or (value >= unit and unit > 1e3):
            return f"{value / unit:.3g}{text}"
    return number(value)


def _highest(stack: Sequence[Series], lines: Sequence[Series]) -> list[float]:
    """Return the highest thing that is drawn at each point."""
    sums = [sum(value or 0 for value in place) for place in zip(*(one.values for one in stack), strict=True)]
    return [max(place) for place in zip(*([sums] if stack else []), *map(_filled, lines), strict=True)]


def _filled(one: Series) -> list[float]:
    return [value or 0 for value in one.values]


def _scale(highest: Sequence[float]) -> float:
    """Return the value that the scale has to show: the highest, or the highest besides spikes."""
    falling = sorted(highest, reverse=True)
    others = falling[max(1, floor(SPIKES * len(falling))) :]
    is_spike = bool(others) and others[0] > 0 and falling[0] > SPIKE * others[0]
    return others[0] * 1.5 if is_spike else max(falling, default=0)


def _over(highest: Sequence[float], top: float) -> str:
    """Return arrows at the top for the points that are higher than the scale."""
    over = [f"M{place * STEP + STEP / 2} 0l-4 7h8z" for place, value in enumerate(highest) if value > top]
    return f'<path class="over" d="{"".join(over)}"/>' if over else ""


def _marks(chart: Chart) -> str:
    """Return a vertical line for each release."""
    span = chart.span
    if span is None:
        return ""
    return "".join(
        f'<path class="release" d="M{_number(span.place(one) * STEP)} 0V{HIGH}"><title>{escape(one.text)} started'
        "</title></path>"
        for one in span.marks
    )


def _columns(stack: Sequence[Series], top: float) -> str:
    parts: list[str] = []
    floors = [0.0] * (len(stack[0].values) if stack else 0)
    for one in stack:
        path = []
        for place, value in enumerate(one.values):
            if value:
                high = min(HIGH * value / top, HIGH - floors[place])
                at = _number(HIGH - floors[place])
                path.append(f"M{place * STEP + 1} {at}h{STEP - 2}v-{_number(high)}h-{STEP - 2}z")
                floors[place] += high
        calm = " calm" if one.state == "succeeded" else ""
        parts.append(f'<path class="f-{one.state}{calm}" d="{"".join(path)}"/>')
    return "".join(parts)


def _line(one: Series, top: float) -> str:
    path, pen = [], "M"
    for place, value in enumerate(one.values):
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{_number(place * STEP + STEP / 2)} {_number(HIGH - min(HIGH, HIGH * value / top))}")
        pen = "L"
    drawn = "".join(path)
    stroke = f'<path class="l s-{one.state} {one.dash}" d="{drawn}"/>'
    if one.look != "area" or not path or None in one.values:
        return stroke
    last = _number((len(one.values) - 0.5) * STEP)
    return f'<path class="f-{one.state} wash" d="{drawn}L{last} {HIGH}L{STEP / 2} {HIGH}z"/>{stroke}'


def legend(chart: Chart, said: Say) -> Markup:
    """Return the names of the series, each with its last value, and the newest releases."""
    rows = []
    last = -2 if chart.is_partial and len(chart.times) > 1 else -1
    for one in chart.series:
        shape = f'<rect class="f-{one.state}" y="1" width="14" height="8" rx="2"/>'
        if one.look != "columns":
            shape = f'<path class="l s-{one.state} {one.dash}" d="M0 5H14"/>'
        swatch = f'<svg class="swatch" aria-hidden="true">{shape}</svg>'
        rows.append(f"<li>{swatch}{escape(one.name)} <b>{escape(_said(one.values[last], said))}</b></li>")
    marks = chart.span.marks if chart.span else ()
    for mark in marks[:MOST_MARKS]:
        assert chart.span
        line = '<svg class="swatch" aria-hidden="true"><path class="release" d="M7 0V10"/></svg>'
        at = chart.times[floor(chart.span.place(mark))]
        rows.append(f"<li>{line}{escape(mark.text)} started <b>{escape(at)}</b></li>")
    if len(marks) > MOST_MARKS:
        rows.append(f"<li>{len(marks) - MOST_MARKS} earlier releases are in the table</li>")
    return Markup(f'<ul class="legend">{"".join(rows)}</ul>')


def table(chart: Chart, said: Say) -> Markup:
    """Return all numbers as a table, behind a summary that opens it."""
    caption = escape(f"{chart.title}, {chart.unit}")
    head = "".join(f'<th scope="col" class="num"{_data(jobs=one.jobs)}>{escape(one.name)}</th>' for one in chart.series)
    body = "".join(
        f'<tr><th scope="row">{_time(chart, place)}</th>'
        + "".join(f'<td class="num">{escape(_said(one.values[place], said))}</td>' for one in chart.series)
        + "</tr>"
        for place in range(len(chart.times))
    )
    span = chart.span
    of_table = _data(begins=span.begins_at.isoformat(), step=f"{span.step.total_seconds():.0f}") if span else ""
    of_times = _data(jobs=span.jobs, label=span.label) if span else ""
    return Markup(
        f'<details class="data"><summary>Show as a table<span class="for-readers">: {caption}</span></summary><div'
        f' class="scroll" tabindex="0" role="region" aria-label="{caption}"><table{of_table}>'
        f'<caption class="for-readers">{caption}</caption><thead><tr><th scope="col"{of_times}>Time</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></details>"
    )


def _data(**values: str) -> str:
    """Return attributes for app.js."""
    return "".join(f' data-{name}="{escape(value)}"' for name, value in values.items() if value)


def _time(chart: Chart, place: int) -> str:
    """Return the time of a row of the table, which leads to the jobs of that time."""
    said = escape(chart.times[place])
    linked = f'<a href="{escape(chart.span.jobs_of(place))}">{said}</a>' if chart.span else said
    so_far = " so far" if chart.is_partial and place == len(chart.times) - 1 else ""
    marks = [one for one in chart.span.marks if floor(chart.span.place(one)) == place] if chart.span else ()
    return linked + so_far + "".join(f" <small>{escape(one.text)} started</small>" for one in marks)


def summed(values: Sequence[float]) -> list[float]:
    """Return the columns of a small chart: at most MOST_COLUMNS sums of neighbouring values."""
    each = max(1, ceil(len(values) / MOST_COLUMNS))
    return [sum(values[at : at + each]) for at in range(0, len(values), each)]


def spark(values: Sequence[float], state: str, summary: str, *, least: float = 1) -> Markup:
    """Return a small chart without axes: columns side by side, one for each value.

    What is below `least` looks low, however high the rest is: so several have one scale. Without a summary it is
    decoration.
    """
    top = max([*values, least])
    # One outline of whole numbers, because a list has many charts: a shape per column takes four times the bytes.
    highs = [max(1, round(HIGH * value / top)) if value else 0 for value in values]
    path = "".join(f"V{HIGH - high}h{len(list(alike))}" for high, alike in groupby(highs))
    attributes = f'role="img" aria-label="{escape(summary)}"' if summary else 'aria-hidden="true"'
    return Markup(
        f'<svg class="spark" viewBox="0 0 {len(values)} {HIGH}" preserveAspectRatio="none" {attributes}>'
        f'<path class="f-{state}" d="M0 {HIGH}{path}V{HIGH}z"/></svg>'
    )


def spark_of(group: ErrorGroup, when: str) -> Markup:
    """Return a small chart of all failed attempts of a group of errors."""
    attempts = [step.failed + step.retried for step in group.series]
    return spark(summed(attempts), "failed", f"{count(sum(attempts), 'failed attempt')} in {when}")


def dots(marks: Sequence[tuple[str, str]], name: str) -> Markup:
    """Return a row of marks, each a state and a word: a dot for "succeeded", a dash for any other."""
    words = Counter(word for _, word in marks)
    said = f"{name}: " + ", ".join(f"{times} × {word}" for word, times in words.items())
    shapes = "".join(_dot(9 * place, state) for place, (state, _) in enumerate(marks))
    return Markup(f'<svg width="{9 * len(marks)}" height="8" role="img" aria-label="{escape(said)}">{shapes}</svg>')


def _dot(x: int, state: str) -> str:
    if state == "succeeded":
        return f'<circle class="f-{state}" cx="{x + 4}" cy="4" r="3.500"/>'
    return f'<rect class="f-{state}" x="{x + 1}" y="3" width="6" height="2"/>'


def bar(part: float, state: str, summary: str) -> Markup:
    """Return a bar that is filled up to `part`, from 0 to 1."""
    return Markup(
        f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{escape(summary)}">'
        f'<rect class="f-{state}" width="{_number(100 * max(0.0, min(1.0, part)))}" height="6"/></svg>'
    )


def widths(parts: Sequence[float]) -> list[int]:
    """Return how wide each part of a strip is, STRIP in all. None is negative; [] if all are 0."""
    whole = sum(parts)
    if whole <= 0:
        return []
    least = min(LEAST, STRIP / len(parts) / 2)
    shares = [least + (STRIP - least * len(parts)) * part / whole for part in parts]
    # Round the edges, not the widths, so that the parts touch each other and fill the strip.
    edges = [0, *(round(edge) for edge in accumulate(shares))]
    return [after - before for before, after in pairwise(edges)]


def strip(parts: Sequence[tuple[str, float]], summary: str) -> Markup:
    """Return how some time was divided: (state, seconds) each, in their order.

    "queued" is low, so that colour is not the only sign; "" is left empty.
    """
    drawn: dict[str, str] = {}
    at = 0
    for (state, _), width in zip(parts, widths([seconds for _, seconds in parts]), strict=False):
        top, high = (4, 4) if state == "queued" else (0, 12)
        drawn[state] = f"{drawn.get(state, '')}M{at} {top}h{width}v{high}h-{width}z"
        at += width
    paths = "".join(f'<path class="f-{state}" d="{path}"/>' for state, path in drawn.items() if state)
    return Markup(
        f'<svg class="bar strip" viewBox="0 0 {STRIP} 12" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(summary)}">{paths}</svg>'
    )


def _number(value: float) -> str:
    return f"{value:.4g}"


def _said(value: float | None, said: Say) -> str:
    return "–" if value is None else said(value)
