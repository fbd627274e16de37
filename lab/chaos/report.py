"""Draws docs/reliability.md: text between two markers is made from the results, the rest is written by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import plots
from lab.page import IMAGES, insert, write
from lab.waiting import ROOT

PAGE = ROOT / "docs/reliability.md"
RESULTS = ROOT / "lab/chaos/results"

Result = Mapping[str, Any]

# Of each fault a description, and what Haulier does about it.
FAULTS = {
    "worker_killed": (
        "`kill -9` of a worker process",
        "its jobs are rescued when its lease has run out, and run alone",
    ),
    "family_killed": ("`kill -9` of the parent of several workers", "the children notice, stop in order and give back"),
    "worker_paused": (
        "`SIGSTOP`, then `SIGCONT`, up to four leases later",
        "past the lease its jobs run elsewhere; what it says late changes nothing",
    ),
    "clock_jumps": ("the worker's clock jumps by up to a day, and back", "nothing: only log lines tell the time"),
    "web_killed": (
        "`kill -9` of gunicorn's workers in mid-request",
        "the connection breaks; with a key the call is repeated; a new process answers",
    ),
    "database_stopped": (
        "`pg_ctl stop -m immediate`, and a start",
        "503 with `Retry-After`; finished outcomes are kept and settled afterwards",
    ),
    "backends_terminated": (
        "`pg_terminate_backend`: the API's, the workers', the listeners', all",
        "each opens another connection at its next call",
    ),
    "half_open": (
        "every connection of one side leads nowhere (half-open TCP)",
        "the client's deadline ends the call; the connections are opened anew together",
    ),
    "bytes_dropped": ("every byte of one side is dropped for up to 3 s", "as above"),
    "reply_cut": (
        "the connection is cut after the commit, before its reply",
        "a claim is given back uncharged, a settle is recognised, a keyed call replays",
    ),
    "request_cut": ("the connection is cut before the server has read the request", "the call is made again"),
    "database_slow": ("each answer of the database takes 500 ms longer", "slower; nothing else"),
    "disk_full": ("each write fails with 53100, disk full", "503; workers keep the outcomes"),
    "read_only": ("the database is read-only, as a standby is", "503; connections are opened anew until one can write"),
    "deadlocks": ("writes fail at random with 40P01, deadlock", "503; workers settle and claim again"),
    "serialization_errors": ("writes fail at random with 40001, serialization failure", "as above"),
    "table_locked": (
        "`ACCESS EXCLUSIVE` lock on the job table for up to 6 s",
        "503 after a statement's deadline, 5 s; a lease shorter than that runs out meanwhile",
    ),
    "queue_paused": (
        "the queue is paused for up to 4 s, and resumed",
        "from a second after the answer on nothing starts; no attempt is lost",
    ),
    "operation_interrupted": (
        "an operation is under way, and all workers, gunicorn or the database end",
        "it goes on where it was; each job is acted on once",
    ),
    "handler_raises": ("a handler raises, once or always", "retried; `failed_permanent` when the budget is spent"),
    "handler_dawdles": ("a handler runs past its timeout, and obeys", "a failed attempt; retried"),
    "handler_hangs": (
        "a handler runs past its timeout and does not obey",
        "its claim is given up, the process drains and is replaced",
    ),
    "handler_is_deaf": ("a handler does not hear of its cancel", "the job is `cancelled` all the same"),
    "handler_leaks": ("a handler leaks until the process is killed for its memory", "as `kill -9`"),
    "handler_holds_gil": (
        "a handler holds the interpreter's lock for up to 4 s",
        "past the lease the process is declared dead, and registers anew",
    ),
    "handler_exits": ("a handler calls `os._exit`", "as `kill -9`; the job runs again, alone"),
    "handler_is_poison": (
        "a handler calls `os._exit` in every attempt",
        "`failed_permanent` after `max_attempts` crashes; nobody else is failed",
    ),
    "child_killed": (
        "`kill -9` of every process of isolated kinds",
        "a failed attempt of the jobs in them, and new processes",
    ),
    "child_exits": ("a handler of an isolated kind calls `os._exit`", "as above"),
    "child_holds_gil": (
        "a handler of an isolated kind holds the interpreter for up to 7 s, seven leases",
        "nothing: its worker goes on, and keeps its lease",
    ),
    "child_grows": (
        "a handler of an isolated kind takes a gigabyte",
        "`failed_permanent` at once, with the limit in its error; nobody else is failed",
    ),
}
PROMISES = {
    "lost": "accepted jobs lost",
    "stuck": "jobs that never ended",
    "finished_twice": "jobs that ended twice",
    "settled_by_a_stale_claim": "jobs settled by a stale claim",
    "started_twice_under_one_claim": "claims that started twice",
    "started_after_its_end": "jobs started after their end",
    "claimed_while_paused": "jobs claimed a second after their queue was paused, or later",
    "started_while_paused": "jobs started so late without a cause",
    "tick_unaccounted": "ticks of schedules without a row, or that fired without a job",
    "tick_fired_twice": "ticks that enqueued two jobs, or a job without having fired",
    "tick_against_its_rule": "ticks whose outcome is not what their schedule says",
    "key_stood_for_two_jobs": "idempotency keys that stood for two jobs",
    "cancel_did_not_hold": "accepted cancels that did not hold",
    "ended_wrongly": "good jobs failed, or bad ones not",
    "answered_wrongly": "answers of the API other than success, or 503 with `Retry-After`",
    "hung": "calls that took over 30 s",
    "unexplained": "starts beyond the first without a cause",
    "miscounted": "numbers that differ from the tables",
    "operation_did_not_end": "operations that did not end",
    "operation_miscounted": "operations whose counts are not what was done",
    "operation_acted_twice": "jobs on which an operation acted twice",
    "operation_acted_on_others": "jobs on which an operation acted, and not as its preview had seen them",
    "act_not_done_once": "changes, copies, deletes, retries, cancels not done wholly and once, or not at all",
    "act_not_on_record": "of these, and of operations, those that are not on record once",
}
TARGETS = {
    "crash_to_restart_p99": "crash of a worker to the next start of its jobs, p99",
    "database_back_to_first_job": "database back to the first job done, at most",
    "database_back_to_api": "database back to the API's first success, at most",
}

# The panels of a soak's drawing: title, endings of the series, unit.
PANELS = (
    ("memory, MB", "_rss_bytes", 1e6),
    ("open files", "_files", 1),
    ("threads", "_threads", 1),
    ("connections", "connections", 1),
    ("dead rows of job", "dead_rows", 1),
    ("job: table and indexes, MB", ("table_bytes", "index_bytes"), 1e6),
)
COLOURS = ("#1f6f8b", "#c9a227", "#8a8a8a")


def draw(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Write every section that has results into the page."""
    text = page.read_text(encoding="utf-8")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("seed-*.json"))]
    if runs:
        text = insert(text, "runs", runs_table(runs))
        text = insert(text, "faults", faults_table(runs))
        text = insert(text, "starts", starts_table(runs))
    soaked = results / "soak.json"
    if soaked.exists():
        result = json.loads(soaked.read_text(encoding="utf-8"))
        image = IMAGES / "soak.svg"
        draw_soak(result, image)
        drawing = f"![What the processes and the tables hold](images/{image.name})\n\n" if image.exists() else ""
        text = insert(text, "soak", drawing + soak_table(result))
    one_dyno = results / "one-dyno.json"
    if one_dyno.exists():
        text = insert(text, "one dyno", soak_table(json.loads(one_dyno.read_text(encoding="utf-8"))))
    write(page, text)


def _breaches(run: Result, name: str) -> str:
    # A run of before there was this promise says nothing of it.
    return f"{run['verdicts'][name]:,}" if name in run["verdicts"] else "–"


def _acted(run: Result) -> str:
    # As above: not of a run of before there was this.
    if "acted" not in run:
        return "–"
    return f"{run['acted']['acts']:,}; {run['acted']['jobs']:,}"


def runs_table(runs: Sequence[Result]) -> str:
    """Return the table of runs, a column for each."""
    rows: list[tuple[str, list[str]]] = [
        ("minutes", [f"{run['minutes']:g}" for run in runs]),
        ("faults injected", [f"{run['injected']:,}" for run in runs]),
        ("jobs accepted", [f"{run['accepted_jobs']:,}" for run in runs]),
        *((f"**{what}**", [_breaches(run, name) for run in runs]) for name, what in PROMISES.items()),
        ("single acts of operators, and jobs on which operations acted", [_acted(run) for run in runs]),
        ("starts beyond the first, each explained", [f"{run['starts_again']:,}" for run in runs]),
        *((f"{what} (bound {runs[0]['targets'][name]['bound']:g} s)", [_target(run, name) for run in runs])
          for name, what in TARGETS.items()),
    ]  # fmt: skip
    rows.append(
        (
            "the same crash, where the workers could not reach the database meanwhile, p99",
            [_troubled(run) for run in runs],
        )
    )
    lines = [
        "| | " + " | ".join(f"seed {run['seed']}" for run in runs) + " |",
        "|---|" + "---:|" * len(runs),
        *(f"| {what} | " + " | ".join(cells) + " |" for what, cells in rows),
    ]
    told = runs[-1]["machine"]
    return "\n".join(
        [
            *lines,
            "",
            f"<sub>{told['cores']} cores ({told['cpu']}), {told['memory_gb']} GB; Python {told['python']};"
            f" `LEASE_SECONDS={runs[-1]['lease_seconds']:g}`; {runs[-1]['at']}.</sub>",
        ]
    )


def _target(run: Result, name: str) -> str:
    target = run["targets"][name]
    if target["found"] is None:
        return "–"
    return f"{_seconds(target['found'])}{'' if target['met'] else ' **missed**'}"


def _troubled(run: Result) -> str:
    p99 = run["crash_to_restart_in_trouble_p99"]
    return "–" if p99 is None else _seconds(p99)


def faults_table(runs: Sequence[Result]) -> str:
    """Return the table of faults: a description of each, what happened, how long it took."""
    lines = [
        "| fault | times | what Haulier does | what was seen | how long |",
        "|---|---:|---|---|---|",
    ]
    for name, (fault, does) in FAULTS.items():
        these = [run["faults"][name] for run in runs if name in run["faults"]]
        if these:
            times = sum(each["count"] for each in these)
            lines.append(f"| {fault} | {times} | {does} | {_seen(these)} | {_how_long(these)} |")
    return "\n".join(lines)


def _seen(these: Sequence[Result]) -> str:
    which: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for each in these:
        which.update(each.get("which", {}))
        answers.update(each.get("answers", {}))
        ended.update(each.get("jobs", {}))
    parts = [", ".join(f"{count} × {name}" for name, count in which.most_common())] if which else []
    if answers:
        parts.append(f"API: {answers['2xx']:,} × 2xx, {answers['503']:,} × 503, {answers['500']} × 500")
        if answers["dropped"]:
            parts.append(f"{answers['dropped']:,} connections dropped")
    if restarted := sum(each.get("restarted_jobs", 0) for each in these):
        parts.append(f"{restarted:,} jobs started again")
    if lost := sum(each.get("leases_lost_by_jobs", 0) for each in these):
        parts.append(f"{lost:,} jobs lost their lease")
    if ended:
        parts.append(", ".join(f"{count} `{status}`" for status, count in sorted(ended.items())))
    return "; ".join(parts) or "–"


def _how_long(these: Sequence[Result]) -> str:
    parts = []
    for name, what in (
        ("restart_seconds", "crash to restart"),
        ("api_back_seconds", "API back"),
        ("jobs_back_seconds", "next job done"),
    ):
        spreads = [each[name] for each in these if name in each]
        if spreads:
            middle = sorted(each["p50"] for each in spreads)[len(spreads) // 2]
            parts.append(f"{what}: {_seconds(middle)}, at most {_seconds(max(each['max'] for each in spreads))}")
    return "; ".join(parts) or "–"


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def starts_table(runs: Sequence[Result]) -> str:
    """Return the table of why jobs started more than once."""
    why: Counter[str] = Counter()
    for run in runs:
        why.update(run["why"])
    return "\n".join(
        ["| why a job started again | starts |", "|---|---:|"]
        + [f"| {cause.replace('_', ' ')} | {count:,} |" for cause, count in why.most_common()]
    )


def soak_table(result: Result) -> str:
    """Return the table of the soak, with the verdict on each series."""
    lines = [
        f"**{'Flat' if result['flat'] else 'Not flat'}** after {result['minutes']:g} minutes at"
        f" {result['rate']:,.0f} jobs a second: {result['accepted_jobs']:,} jobs, {result['lost']} lost,"
        f" {result['stuck']} stuck.{_peaks(result)}",
        "",
        "| over the second half | median | growth | allowed | |",
        "|---|---:|---:|---:|---|",
    ]
    for name, each in result["verdicts"].items():
        shown = [_amount(name, each[what]) for what in ("median", "growth", "allowed")]
        lines.append(f"| {_named(name)} | {' | '.join(shown)} | {'flat' if each['flat'] else '**not flat**'} |")
    told = result["machine"]
    return "\n".join(
        [*lines, "", f"<sub>{told['cores']} cores ({told['cpu']}); Python {told['python']}; {result['at']}.</sub>"]
    )


def _peaks(result: Result) -> str:
    if (peaks := result.get("peaks")) is None:
        return ""
    answers = f"{result['not_answered']} answers other than success"
    return (
        f" {answers}. All processes together took {_amount('rss_bytes', peaks['rss_bytes'])} of memory and"
        f" {peaks['connections']:g} connections at most{'' if peaks['fits'] else ': **too much**'}."
    )


def _named(name: str) -> str:
    shown = name.replace("_bytes", "").replace("_", " ").replace("rss", "memory")
    return f"{shown}, at their peaks" if name == "dead_rows" else shown


def _amount(name: str, value: float) -> str:
    return f"{value / 1e6:,.1f} MB" if name.endswith("_bytes") else f"{value:,.0f}"


def draw_soak(result: Result, path: Path) -> None:
    """Draw as SVG what a soak's processes and tables hold, a panel for each resource; nothing without matplotlib."""
    if (pyplot := plots.pyplot(font_size=8)) is None:
        return
    series = result["each_minute"]
    drawing, panels = pyplot.subplots(3, 2, figsize=(7.2, 6.4), sharex=True)
    for axes, (title, ends, unit) in zip(panels.flat, PANELS, strict=True):
        names = [name for name in series if name.endswith(ends)]
        for name, colour in zip(names, COLOURS, strict=False):
            values = [value / unit for value in series[name]]
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1, label=name.split("_")[0])
        axes.set_title(title, fontsize=8, loc="left")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=7, loc="best")
    for axes in panels[-1]:
        axes.set_xlabel("minutes")
    drawing.tight_layout()
    plots.save(pyplot, drawing, path)
