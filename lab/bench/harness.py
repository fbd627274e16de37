"""Run measures on one server: interleaved repetitions, and one file of results per measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab import result_files
from lab.bench import results
from lab.bench.contenders.contender import Contender
from lab.bench.tables import PageTable
from lab.bench.targets import Target
from lab.machine import machine
from lab.servers import Postgres

Figures = results.Figures


@dataclass(frozen=True)
class Bench:
    """What a repetition may use. `scale` multiplies the numbers of jobs; published results have scale 1."""

    server: Postgres
    folder: Path
    scale: float = 1.0

    def turns(self, number: int, *, least: int = 1) -> int:
        """Return the number of turns at this scale; from a tenth of the full size on, all of them."""
        return max(least, int(number * min(1.0, self.scale * 10)))

    def seconds(self, seconds: float, *, least: float = 0.0) -> float:
        """Return the seconds at this scale; from a tenth of the full size on, all of them."""
        return max(least, seconds * min(1.0, self.scale * 10))

    def jobs(self, number: int, *, least: int = 1000) -> int:
        """Return that many jobs at this run's scale, in whole thousands if there are any."""
        scaled = int(number * self.scale)
        return max(least, scaled // 1000 * 1000 if scaled >= 1000 else scaled)


@dataclass(frozen=True)
class Entry:
    """One row of a measure: the contender, its settings, and how to take one repetition."""

    name: str
    label: str
    once: Callable[[Bench], Figures]
    missing: str | None = None
    version: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    # A limit to its repetitions, for one that takes minutes.
    at_most: int | None = None

    def row(self) -> results.Row:
        """Return the row of this entry, without figures yet."""
        return results.Row(self.name, self.label, self.version, dict(self.settings), self.missing)


class Measure(Protocol):
    """A module of lab/bench/measures: its rows, the tables of its section in docs/benchmarks.md, and its targets."""

    NAME: str
    TITLE: str
    TABLES: list[PageTable]
    TARGETS: list[Target]

    def entries(self) -> list[Entry]:
        """Return the rows."""


def entry_for(contender: Contender, once: Callable[[Bench], Figures], *, at_most: int | None = None) -> Entry:
    """Return an entry for a contender; `missing` is set if this machine lacks something that it needs."""
    missing = contender.missing()
    return Entry(
        contender.name,
        contender.label,
        once,
        missing,
        "" if missing else contender.version(),
        contender.settings,
        at_most,
    )


def run(measure: Measure, bench: Bench, *, repetitions: int, contenders: Sequence[str] = ()) -> results.Result:
    """Take every repetition of one measure and return the result.

    First repetition 1 of every entry, then repetition 2 of every entry: changes of the machine meanwhile (heat, a
    neighbour) then affect all entries. An entry that fails is marked, and not repeated.
    """
    entries = [entry for entry in measure.entries() if not contenders or entry.name in contenders]
    result = untaken(measure, entries, bench, command(measure, bench, repetitions, contenders))
    result.options = {"repetitions": repetitions, "scale": bench.scale}
    rows = {row.name: row for row in result.rows}
    taken = results.Repetitions({entry.name: [] for entry in entries})
    for entry in entries:
        if entry.missing:
            say(f"{measure.NAME}: {entry.label} is skipped: {entry.missing}")
    turns = [
        (number, entry)
        for number in range(1, repetitions + 1)
        for entry in entries
        if not entry.missing and number <= (entry.at_most or repetitions)
    ]
    for done, (number, entry) in enumerate(turns):
        row = rows[entry.name]
        if row.failed is None:
            of = min(entry.at_most or repetitions, repetitions)
            say(f"{measure.NAME} {done}/{len(turns)}: {entry.label} {number}/{of}")
            _take(entry, row, taken, bench)
    summarize(measure, taken, result)
    return result


def untaken(measure: Measure, entries: Sequence[Entry], bench: Bench, command: str) -> results.Result:
    """Return the result before the first repetition, with the machine, the server and the commit."""
    return results.Result(
        measure=measure.NAME,
        title=measure.TITLE,
        at=time.strftime("%Y-%m-%d %H:%M"),
        commit=result_files.commit(),
        command=command,
        machine=machine(),
        server=bench.server.told(),
        options={},
        rows=[entry.row() for entry in entries],
    )


def summarize(measure: Measure, taken: results.Repetitions, result: results.Result) -> None:
    """Put the spreads of all figures and targets into the result."""
    for row in result.rows:
        row.figures = taken.spreads(row.name)
    measured = {target.label: target.measured(taken) for target in measure.TARGETS}
    result.targets = {label: spread for label, spread in measured.items() if spread is not None}


def command(measure: Measure, bench: Bench, repetitions: int, contenders: Sequence[str]) -> str:
    """Return the command that takes only this measure in the same way."""
    words = [f"make bench ONLY={measure.NAME} REPETITIONS={repetitions}"]
    words += [f"SCALE={bench.scale:g}"] if bench.scale != 1 else []
    words += [f"CONTENDERS={','.join(contenders)}"] if contenders else []
    return " ".join(words)


def _take(entry: Entry, row: results.Row, taken: results.Repetitions, bench: Bench) -> None:
    try:
        taken.taken[entry.name].append(entry.once(bench))
    except Exception as error:  # whatever a peer raises, the other entries are still to be measured
        row.failed = f"{type(error).__name__}: {error}"[-500:]
        say(f"{entry.label} failed: {row.failed}")


def say(line: str) -> None:
    """Write a line to stderr."""
    print(line, file=sys.stderr)


def chosen(measures: Iterable[Measure], only: Sequence[str]) -> list[Measure]:
    """Return the measures of these names, all if no name is given. Raises: SystemExit for an unknown name."""
    known = {measure.NAME: measure for measure in measures}
    if unknown := [name for name in only if name not in known]:
        sys.exit(f"bench: no measure {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in (only or known)]
