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

# Each fault, and what Haulier does about it.
FAULTS = {
    "worker_killed": ("`kill -9` of a worker", "its jobs run elsewhere when the lease ends, each alone"),
    "family_killed": ("`kill -9` of the parent of several workers", "the children stop in order and give jobs back"),
    "worker_paused": ("`SIGSTOP` for up to four leases", "jobs run elsewhere; a late outcome changes nothing"),
    "clock_jumps": ("a worker's clock jumps by up to a day", "nothing: only log times are wrong"),
    "web_killed": ("`kill -9` of a gunicorn process", "the connection breaks; a keyed call can be repeated"),
    "database_stopped": ("immediate stop of Postgres", "503 with `Retry-After`; workers store outcomes later"),
    "backends_terminated": ("`pg_terminate_backend`", "the next call opens a new connection"),
    "half_open": ("connections that lead nowhere", "the call times out; connections are reopened"),
    "bytes_dropped": ("all bytes dropped for up to 3 s", "as above"),
    "reply_cut": (
        "connection cut after the commit",
        "claims are given back, outcomes recognised, keyed calls replayed",
    ),
    "request_cut": ("connection cut before the request arrives", "the call is repeated"),
    "database_slow": ("each answer takes 500 ms longer", "everything is slower"),
    "disk_full": ("disk full (53100)", "503; workers store outcomes later"),
    "read_only": ("database read-only", "503; connections are reopened until one can write"),
    "deadlocks": ("random deadlocks (40P01)", "503; workers try again"),
    "serialization_errors": ("random serialization failures (40001)", "as above"),
    "table_locked": ("job table locked for up to 6 s", "503 after 5 s; short leases run out"),
    "queue_paused": ("queue paused for up to 4 s", "nothing starts from a second after the answer on"),
    "operation_interrupted": (
        "workers, gunicorn or database end during an operation",
        "it continues; each job is changed once",
    ),
    "handler_raises": ("handler raises", "retried; `failed_permanent` when attempts are spent"),
    "handler_dawdles": ("handler exceeds its timeout", "failed attempt, retried"),
    "handler_hangs": ("handler ignores its timeout", "the process finishes its other jobs and is replaced"),
    "handler_is_deaf": ("handler ignores its cancel", "the job ends `cancelled` all the same"),
    "handler_leaks": ("handler leaks until the process is killed", "as `kill -9`"),
    "handler_holds_gil": ("handler blocks the interpreter for up to 4 s", "past the lease its jobs run elsewhere"),
    "handler_exits": ("handler calls `os._exit`", "as `kill -9`"),
    "handler_is_poison": ("handler calls `os._exit` each time", "`failed_permanent` after `max_attempts` crashes"),
    "child_killed": ("`kill -9` of isolated processes", "failed attempt, new processes"),
    "child_exits": ("isolated handler calls `os._exit`", "as above"),
    "child_holds_gil": ("isolated handler blocks for up to 7 s", "nothing: its worker keeps running"),
    "child_grows": ("isolated handler takes a gigabyte", "`failed_permanent`, naming the limit"),
}
# The lines of the summary, and the faults of each.
GROUPS = {
    "worker process killed": (
        "worker_killed",
        "family_killed",
        "handler_leaks",
        "handler_exits",
        "handler_is_poison",
    ),
    "worker frozen for longer than its lease": ("worker_paused", "handler_holds_gil"),
    "worker's clock wrong by up to a day": ("clock_jumps",),
    "web process killed during requests": ("web_killed",),
    "database stopped": ("database_stopped",),
    "connections cut, frozen or slow": (
        "backends_terminated",
        "half_open",
        "bytes_dropped",
        "reply_cut",
        "request_cut",
        "database_slow",
    ),
    "disk full, read-only, deadlocks": ("disk_full", "read_only", "deadlocks", "serialization_errors"),
    "job table locked": ("table_locked",),
    "queue paused and resumed": ("queue_paused",),
    "workers, web or database end in an operation": ("operation_interrupted",),
    "handler fails, hangs or ignores a cancel": (
        "handler_raises",
        "handler_dawdles",
        "handler_hangs",
        "handler_is_deaf",
    ),
    "isolated handler killed, hanging or growing": ("child_killed", "child_exits", "child_holds_gil", "child_grows"),
}
PROMISES = {
    "lost": "accepted jobs lost",
    "stuck": "jobs that never ended",
    "finished_twice": "jobs that ended twice",
    "settled_by_a_stale_claim": "jobs ended by an earlier claim",
    "started_twice_under_one_claim": "claims that started twice",
    "started_after_its_end": "jobs started after their end",
    "claimed_while_paused": "jobs claimed over a second after their queue was paused",
    "started_while_paused": "jobs started that late without a known reason",
    "tick_unaccounted": "ticks without a row, or fired without a job",
    "tick_fired_twice": "ticks with two jobs, or with a job but not fired",
    "tick_against_its_rule": "ticks with a wrong outcome",
    "key_stood_for_two_jobs": "idempotency keys with two jobs",
    "cancel_did_not_hold": "accepted cancels that did not hold",
    "ended_wrongly": "good jobs that failed, or bad ones that did not",
    "answered_wrongly": "answers other than success or 503 with `Retry-After`",
    "hung": "calls that took over 30 s",
    "unexplained": "repeated starts without a cause",
    "miscounted": "counts that differ from the tables",
    "operation_did_not_end": "operations that did not end",
    "operation_miscounted": "operations with wrong counts",
    "operation_acted_twice": "jobs on which an operation acted twice",
    "operation_acted_on_others": "jobs changed by an operation against its preview",
    "act_not_done_once": "single acts not done exactly once",
    "act_not_on_record": "acts and operations not audited exactly once",
}
# Heading of a target's column, and how many digits it has.
TARGETS = {
    "crash_to_restart_p99": ("crash to restart, p99", 1),
    "database_back_to_first_job": ("database to job", 2),
    "database_back_to_api": ("database to API", 2),
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
        text = insert(text, "summary", summary(runs))
        text = insert(text, "promises", promise_list(runs))
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
    cut_off = results / "hosts.json"
    if cut_off.exists():
        text = insert(text, "hosts", hosts_table(json.loads(cut_off.read_text(encoding="utf-8"))))
    write(page, text)


def summary(runs: Sequence[Result]) -> str:
    """Return the table of groups of faults: how many there were, the jobs lost, and how soon work went on."""
    # A run counts lost jobs of all its faults together.
    lost = sum(run["verdicts"]["lost"] for run in runs)
    lines = ["| attack | times | lost | started again | longest recovery |", "|---|---:|---:|---:|---:|"]
    for group, names in GROUPS.items():
        seen = [run["faults"][name] for run in runs for name in names if name in run["faults"]]
        times = sum(each["count"] for each in seen)
        again = sum(each.get("restarted_jobs", 0) + each.get("leases_lost_by_jobs", 0) for each in seen)
        lines.append(
            f"| {group} | {times:,} | {'0' if lost == 0 else f'at most {lost}'} | {again or '–'} | {_longest(seen)} |"
        )
    faults, accepted = sum(run["injected"] for run in runs), sum(run["accepted_jobs"] for run in runs)
    broken = sum(sum(run["verdicts"].values()) for run in runs)
    minutes = sum(run["minutes"] for run in runs)
    totals = f"{len(runs)} runs, {minutes:g} minutes, {faults:,} faults, {accepted:,} accepted jobs"
    return "\n".join([f"**{totals}: {lost} lost, {broken} promises broken.**", "", *lines])


def promise_list(runs: Sequence[Result]) -> str:
    """Return the promises with how often they were broken, by the number of runs that watched them."""
    parts = []
    watched = {name: [run["verdicts"][name] for run in runs if name in run["verdicts"]] for name in PROMISES}
    for many in sorted({len(counts) for counts in watched.values()} - {0}, reverse=True):
        items = [f"- {PROMISES[name]}: {sum(found):,}" for name, found in watched.items() if len(found) == many]
        parts.append("\n".join([f"In {many} run{'s' * (many != 1)}:", "", *items]))
    return "\n\n".join(parts)


def runs_table(runs: Sequence[Result]) -> str:
    """Return the table of runs, a line for each. Units: seconds."""
    headings = [f"{heading} (≤ {runs[0]['targets'][name]['bound']:g} s)" for name, (heading, _) in TARGETS.items()]
    columns = ["seed", "minutes", "faults", "jobs", *headings, "restart after an outage, p99"]
    lines = ["| " + " | ".join(columns) + " |", "|---:" * len(columns) + "|"]
    for run in runs:
        in_trouble = run["crash_to_restart_in_trouble_p99"]
        cells = [
            f"{run['seed']}",
            f"{run['minutes']:g}",
            f"{run['injected']:,}",
            f"{run['accepted_jobs']:,}",
            *(_target(run, name, digits) for name, (_, digits) in TARGETS.items()),
            "–" if in_trouble is None else f"{in_trouble:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    told = runs[-1]["machine"]
    return "\n".join(
        [
            *lines,
            "",
            f"<sub>{told['cores']} cores ({told['cpu']}), Python {told['python']},"
            f" `LEASE_SECONDS={runs[-1]['lease_seconds']:g}`, {runs[-1]['at'].partition(' ')[0]}</sub>",
        ]
    )


def _target(run: Result, name: str, digits: int) -> str:
    target = run["targets"][name]
    if target["found"] is None:
        return "–"
    return f"{target['found']:.{digits}f}{'' if target['met'] else ' **missed**'}"


def faults_table(runs: Sequence[Result]) -> str:
    """Return the table of faults: what each is, what Haulier does, and how long it took to work again."""
    lines = ["| fault | times | what Haulier does | longest |", "|---|---:|---|---:|"]
    for name, (fault, does) in FAULTS.items():
        these = [run["faults"][name] for run in runs if name in run["faults"]]
        if these:
            times = sum(each["count"] for each in these)
            lines.append(f"| {fault} | {times} | {does} | {_longest(these)} |")
    return "\n".join(lines)


def _longest(these: Sequence[Result]) -> str:
    """Return the longest time until the API stored a job, a job was done, or a crashed job ran again."""
    names = ("restart_seconds", "api_back_seconds", "jobs_back_seconds")
    longest = [each[name]["max"] for each in these for name in names if name in each]
    return f"{max(longest):.1f} s" if longest else "–"


def starts_table(runs: Sequence[Result]) -> str:
    """Return the table of why jobs started more than once."""
    why: Counter[str] = Counter()
    for run in runs:
        for cause, count in run["why"].items():
            why[cause.partition(":")[0]] += count
    return "\n".join(
        ["| why a job started again | starts |", "|---|---:|"]
        + [f"| {cause} | {count:,} |" for cause, count in why.most_common()]
    )


def soak_table(result: Result) -> str:
    """Return the table of the soak, with the verdict on each series."""
    lines = [
        f"**{'Flat' if result['flat'] else 'Not flat'}** after {result['minutes']:g} minutes at"
        f" {result['rate']:,.0f} jobs a second: {result['accepted_jobs']:,} jobs, {result['lost']} lost,"
        f" {result['stuck']} unfinished.{_peaks(result)}",
        "",
        "| over the second half | median | growth | allowed |",
        "|---|---:|---:|---:|",
    ]
    for name, each in result["verdicts"].items():
        shown = [_amount(name, each[what]) for what in ("median", "growth", "allowed")]
        lines.append(f"| {_named(name)} | {' | '.join(shown)}{'' if each['flat'] else ', **not flat**'} |")
    told = result["machine"]
    return "\n".join(
        [*lines, "", f"<sub>{told['cpu']}, Python {told['python']}, {result['at'].partition(' ')[0]}</sub>"]
    )


def _peaks(result: Result) -> str:
    if (peaks := result.get("peaks")) is None:
        return ""
    answers = f"{result['not_answered']} answers other than success"
    return (
        f" {answers}. All processes together: {_amount('rss_bytes', peaks['rss_bytes'])} of memory and"
        f" {peaks['connections']:g} connections at most{'' if peaks['fits'] else ': **too much**'}."
    )


def _named(name: str) -> str:
    shown = name.replace("_bytes", "").replace("_", " ").replace("rss", "memory")
    return f"{shown}, at their peaks" if name == "dead_rows" else shown


def _amount(name: str, value: float) -> str:
    return f"{value / 1e6:,.1f} MB" if name.endswith("_bytes") else f"{value:,.0f}"


def hosts_table(result: Result) -> str:
    """Return what became of the jobs while some hosts were cut off. Units: seconds."""
    broken, restart = sum(result["verdicts"].values()), result["restart_seconds"]
    figures = {
        "cut off for": result["cut_seconds"],
        "declared dead after, at most": result["declared_dead_seconds"],
        "their running jobs ran elsewhere after, p50": restart and restart["p50"],
        "at most": restart and restart["max"],
        "after the heal all worked again within": result["back_seconds"],
    }
    told = result["machine"]
    return "\n".join(
        [
            f"**{result['workers']} workers on {result['hosts']} hosts, {result['round_trip_ms']} ms away,"
            f" {result['cut_workers']} of them cut off: {result['accepted_jobs']:,} jobs,"
            f" {result['verdicts']['lost']} lost, {broken} promises broken.**"
            f" {result['taken_over']:,} jobs were taken over; {result['late_results']:,} late results were refused.",
            "",
            "| | seconds |",
            "|---|---:|",
            *(f"| {name} | {'–' if seconds is None else f'{seconds:.1f}'} |" for name, seconds in figures.items()),
            "",
            f"<sub>{told['cores']} cores ({told['cpu']}), Python {told['python']},"
            f" `LEASE_SECONDS={result['lease_seconds']:g}`, {result['at'].partition(' ')[0]}</sub>",
        ]
    )


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
