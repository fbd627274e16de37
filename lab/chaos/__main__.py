"""`python -m lab.chaos run|soak|hosts|draw`: breaks Haulier, or lets it run for long; draws docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haulier.version import version
from lab import result_files
from lab.chaos import cut_off, evidence, numbers, operators, plan, report, schedules, soak, verdict
from lab.chaos.faults import Faults
from lab.chaos.load import Load, Mix
from lab.chaos.stage import Stage, stage
from lab.machine import machine
from lab.waiting import pause

# At these, twenty minutes are 230,000 jobs and 370 faults.
RATE, EVERY = 195.0, 3.2
WEB = {"WEB_CONCURRENCY": "2", "WEB_THREADS": "6"}
WORKER = {"WORKER_THREADS": "8", "STUCK_SECONDS": "1", "SHUTDOWN_SECONDS": "4"}
CLIENTS = 6
# The share of calls in whose place an operator acts.
ACTS = 0.1
DRAIN_SECONDS = 240.0
# What the file of a run stores as it is. A run that fails prints the rest.
PLAIN = (
    "version", "seed", "minutes", "lease_seconds", "at", "machine", "injected", "accepted_jobs", "drained_seconds",
    "verdicts", "targets",
)  # fmt: skip
TIMES = ("restart_seconds", "api_back_seconds", "jobs_back_seconds")
LEFT = """
    SELECT 1 FROM haulier.job
    UNION ALL
    SELECT 1 FROM haulier.operation WHERE status IN ('waiting', 'running')
    LIMIT 1
"""


def job(chance: random.Random) -> dict[str, Any]:
    """Return a job for the load: most are short, some run long enough to be hit by a fault, a few fail."""
    if chance.random() < 0.08:
        return operators.job(chance)
    drawn = chance.random()
    if drawn < 0.02:
        return {"kind": "c.raises", "payload": {}, "max_attempts": 20}
    if drawn < 0.03:
        return {"kind": "c.quick", "payload": {}, "delay_seconds": 3, "max_attempts": 20}
    if drawn < 0.72:
        return {"kind": "c.quick", "payload": {}, "max_attempts": 20}
    if drawn < 0.74:
        return {"kind": "c.apart", "payload": {"ms": chance.randint(0, 300)}, "max_attempts": 20}
    if drawn < 0.96:
        return {"kind": "c.works", "payload": {"ms": chance.randint(5, 80)}, "max_attempts": 20}
    return {"kind": "c.long", "payload": {"ms": chance.randint(300, 2000)}, "max_attempts": 20}


def break_it(
    folder: Path, *, seed: int, minutes: float, every: float, rate: float, lease_seconds: float
) -> dict[str, Any]:
    """Run the plan of this seed and return the result."""
    seconds = 60 * minutes
    faults = plan.plan(seed=seed, seconds=seconds, every=every)
    worker = {**WORKER, "LEASE_SECONDS": f"{lease_seconds:g}"}
    with stage(folder, is_broken=True, web=WEB, worker=worker) as running:
        acting = operators.Operator()
        load = Load(running.port, Mix(rate=rate, acts=ACTS, act=acting.act, job=job), seed=seed, clients=CLIENTS)
        load.start()
        doing = Faults(running, load, acting)
        began_at = time.monotonic()
        schedules.plant(running)
        doing.run(faults, seconds=seconds)
        doing.heal()
        planted = schedules.take_away(running)
        if not load.stop(within=120):
            doing.failed.append("a client could not finish")
        drained_after = drain(running)
        found = evidence.gather(running, load, doing.done, acting.acts, miscounted=numbers.miscounted(running))
        starts = {service.name: service.starts for service in running.services}
        found.schedules = schedules.gather(running, planted)
        logged = evidence.logged_errors(running.logs)
    return {
        "version": version(),
        "seed": seed,
        "minutes": minutes,
        "lease_seconds": lease_seconds,
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "injected": len(doing.done),
        "planned": len(faults),
        "came_to_nothing": doing.came_to_nothing,
        "could_not_be_done": doing.failed,
        "accepted_jobs": len(found.accepted),
        "ran_seconds": round(time.monotonic() - began_at, 1),
        "drained_seconds": drained_after,
        "processes_started": starts,
        "logged_errors": logged,
        **verdict.judge(found),
    }


def drain(running: Stage) -> float | None:
    """Wait until no job is left and no operation is open, and return how long that took; None after DRAIN_SECONDS."""
    began_at = time.monotonic()
    while running.run(LEFT):
        if time.monotonic() - began_at > DRAIN_SECONDS:
            return None
        pause(0.2)
    return round(time.monotonic() - began_at, 1)


def kept_its_promises(result: dict[str, Any]) -> bool:
    """Return whether every promise held, and every fault could be done."""
    return not any(result["verdicts"].values()) and not result["could_not_be_done"]


def is_good(result: dict[str, Any]) -> bool:
    """Return whether every promise held and every target of time was met."""
    return kept_its_promises(result) and all(target["met"] for target in result["targets"].values())


def save(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Write what is stored of a result to a file, with its commit and command, and return the file's path."""
    command = shlex.join(["python", "-m", "lab.chaos", *sys.argv[1:]])
    return result_files.save(folder / f"{name}.json", {**result, "commit": result_files.commit(), "command": command})


def stored_run(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of a run with faults stores of its result."""
    troubled = result["figures"]["crash_to_restart_with_the_database_in_trouble_seconds"]
    return {
        **{name: result[name] for name in PLAIN if name in result},
        **({"acted": _acted(result["operators"])} if "operators" in result else {}),
        "starts_again": result["starts"]["again"],
        "why": result["starts"]["why"],
        "crash_to_restart_in_trouble_p99": None if troubled is None else troubled["p99"],
        "faults": {name: _fault(fault) for name, fault in result["faults"].items()},
    }


def _acted(operators: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of single acts that operators did, and of jobs on which their operations acted."""
    return {
        "acts": sum(each.get("done", 0) for each in operators["acts"].values()),
        "jobs": sum(each["jobs"] for each in operators["operations"].values()),
    }


def _fault(fault: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored of one sort of fault, without what did not occur."""
    counts = ("count", "which", "restarted_jobs", "leases_lost_by_jobs", "jobs")
    stored = {name: fault[name] for name in counts}
    stored["answers"] = _answers(fault["answers_during"]) if fault["answers_during"] else None
    for name in TIMES:
        stored[name] = {which: fault[name][which] for which in ("p50", "max")} if fault[name] is not None else None
    return {name: value for name, value in stored.items() if value}


def _answers(during: Mapping[str, int]) -> dict[str, int]:
    """Return how many answers were a success, 503, 500 or none."""
    good = sum(count for status, count in during.items() if status.startswith("2"))
    return {"2xx": good, **{status: during.get(status, 0) for status in ("503", "500", "dropped")}}


def stored_soak(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of a soak stores of its result."""
    return {name: value for name, value in result.items() if name not in ("ended", "samples")}


def main() -> int:
    """Do what the command line says, and return the exit code: 0 when all is well."""
    options = arguments()
    good = True
    if options.what != "draw":
        with tempfile.TemporaryDirectory(prefix="haulier-chaos-", ignore_cleanup_errors=True) as made:
            folder = Path(options.keep or made)
            # Under root, Postgres runs as another account, which must be able to enter the folder.
            folder.chmod(0o711)
            good = {"run": _run, "soak": _soak, "hosts": _hosts}[options.what](folder, options)
    if not options.no_draw:
        report.draw(results=options.results)
    return 0 if good else 1


def _run(folder: Path, options: argparse.Namespace) -> bool:
    result = break_it(
        folder,
        seed=options.seed,
        minutes=options.minutes,
        every=options.every,
        rate=options.rate or RATE,
        lease_seconds=options.lease or 1,
    )
    kept = stored_run(result)
    print(report.runs_table([kept]), report.promise_list([kept]), sep="\n\n")
    if not is_good(result):
        print(json.dumps({name: result[name] for name in ("examples", "could_not_be_done", "logged_errors")}, indent=1))
    print(save(f"seed-{options.seed}", kept, options.results))
    return is_good(result)


def _soak(folder: Path, options: argparse.Namespace) -> bool:
    result = soak.soak(folder, minutes=options.minutes, rate=options.rate or soak.RATE, one_dyno=options.dyno)
    print(report.soak_table(result))
    print(save("one-dyno" if options.dyno else "soak", stored_soak(result), options.results))
    return soak.is_good(result)


def _hosts(folder: Path, options: argparse.Namespace) -> bool:
    result = cut_off.run(folder, lease_seconds=options.lease or 30)
    print(report.hosts_table(result))
    print(save("hosts", result, options.results))
    return bool(result["met"])


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m lab.chaos", description=__doc__)
    parser.add_argument("what", choices=["run", "soak", "hosts", "draw"])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=EVERY, help="seconds from one fault to the next, on average")
    parser.add_argument("--rate", type=float, help=f"jobs a second: {RATE:g}, or {soak.RATE:g} for a soak")
    parser.add_argument("--dyno", action="store_true", help="soak `haulier all`, in the limits of one small dyno")
    parser.add_argument("--lease", type=float, help="LEASE_SECONDS of the workers: 1, or 30 for hosts")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="the folder to write to, and to draw from")
    parser.add_argument("--no-draw", action="store_true", help="leave docs/reliability.md as it is")
    parser.add_argument("--keep", type=Path, help="an empty folder to leave logs and data in")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
