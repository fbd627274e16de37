"""Judges the evidence: which promises were broken, why jobs started again, and how long recovery took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

from lab.chaos import acts, pauses, schedules
from lab.chaos.evidence import Evidence, Row, WayBack, Worker
from lab.chaos.faults import Injected
from lab.chaos.findings import Findings, spread
from lab.chaos.ledger import Event, Record
from lab.chaos.load import Answer
from lab.chaos.operators import FOREVER, KIND
from lab.chaos.pauses import DEADLINE_SECONDS, HOLD_THE_GIL

# The API's own deadlines, with the wait for a connection, and a margin for two busy cores.
ANSWER_SECONDS = 30.0
API_BACK_SECONDS = 2.0
JOBS_BACK_SECONDS = 3.0
# How long a crashed job may take to run again, beside the lease.
RESTART_SECONDS = 15.0
# The end of these faults is not noticed at once by either side.
SILENT = ("half_open", "bytes_dropped")
CRASHED = "died or lost its lease"
# Text that the last error of a failed job must contain, by kind.
SAYS = {"c.exits": CRASHED, "c.apart_exits": "the process that ran this job", "c.apart_grows": "ISOLATED_MEMORY_MB"}
# How late the suite may notice a death, on a busy machine.
SEEN_LATE_SECONDS = 0.3
# How long after its cause a death may be noticed.
SEEN_SECONDS = 3.0
# From the kill of a child to the settled failure; long, because an outage may come between.
KILLED_SECONDS = 30.0
# From the start of a job that hangs to the end of its process, which lets its other jobs finish.
REPLACED_SECONDS = 40.0
EXAMPLES = 20


class Judge:
    """Goes through the evidence once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.findings = Findings()
        self.rows: dict[str, list[Row]] = defaultdict(list)
        for row in evidence.rows:
            self.rows[row.id].append(row)
        self.starts: dict[str, list[Record]] = defaultdict(list)
        self.said: set[tuple[str, int, Event]] = set()
        self.starts_of: dict[int, list[Record]] = defaultdict(list)
        for record in evidence.records:
            if record.event is Event.START:
                self.starts[str(record.job)].append(record)
                self.starts_of[record.pid].append(record)
            else:
                self.said.add((str(record.job), record.attempt, record.event))
        self.ways_back: dict[str, list[WayBack]] = defaultdict(list)
        for way in evidence.ways_back:
            self.ways_back[way.job].append(way)
        self.died_at = {death.pid: death for death in evidence.deaths}
        self.kinds = {job_id: rows[0].kind for job_id, rows in self.rows.items()}
        self.last_acts = acts.wanted(evidence.witness.written)
        self.causes: Counter[str] = Counter()
        self.restarts: dict[str, list[float]] = defaultdict(list)
        self.restarts_in_trouble: list[float] = []
        self.leases_lost: Counter[str] = Counter()
        # When jobs were stored, and when jobs ended.
        self.successes = {
            "web": sorted(
                each.ended_at
                for each in evidence.answers
                if each.status in (200, 201) and each.call in ("enqueue", "batch")
            ),
            "workers": sorted(row.finished_at for row in evidence.rows if row.finished_at is not None),
        }

    def judge(self) -> dict[str, Any]:
        """Return the result, ready to be written to a file."""
        self._hold_the_accepted_against_the_rows()
        self._look_at_the_rows()
        self._explain_the_starts()
        self._look_at_the_answers()
        for promise, what in chain(
            pauses.breaches(self.evidence, self.kinds), acts.breaches(self.evidence.witness, self.evidence.acts)
        ):
            self.findings.add(promise, what)
        for what in self.evidence.miscounted:
            self.findings.add("miscounted", what)
        for promise, what in schedules.breaches(self.evidence.schedules):
            self.findings.add(promise, what)
        broken = self.findings.broken
        restarts = [each for values in self.restarts.values() for each in values]
        restart = spread(restarts)
        figures = {
            "crash_to_restart_seconds": restart,
            "crash_to_restart_with_the_database_in_trouble_seconds": spread(self.restarts_in_trouble),
            "api_back_seconds": spread(self._back("web", "all")),
            "jobs_back_after_database_stopped_seconds": spread(self._back("workers", "database_stopped")),
            "api_back_after_database_stopped_seconds": spread(self._back("web", "database_stopped")),
            "jobs_back_whatever_came_between_seconds": spread(self._back("workers", "database_stopped", any_time=True)),
            "answer_seconds": spread(answer.seconds for answer in self.evidence.answers),
        }
        return {
            "verdicts": {name: len(found) for name, found in broken.items()},
            "targets": self._targets(figures),
            "examples": {name: found[:EXAMPLES] for name, found in broken.items() if found},
            "accepted": dict(Counter(each.how for each in self.evidence.accepted.values())),
            "answers_unknown": self.evidence.unknown,
            "jobs": dict(Counter(row.status for row in self.evidence.rows)),
            "operators": acts.figures(self.evidence.witness, self.evidence.acts),
            "starts": {
                "first": len(self.starts),
                "again": sum(len(starts) - 1 for starts in self.starts.values()),
                "why": dict(self.causes.most_common()),
            },
            # More than one is no breach: a job that is claimed and given back unstarted only costs writes.
            "claims_per_job": round(sum(row.attempt for row in self.evidence.rows) / max(1, len(self.rows)), 2),
            "answers": dict(Counter(_answer_name(each) for each in self.evidence.answers)),
            "figures": figures,
            "machine_stood_still_seconds": spread(ended_at - began_at for began_at, ended_at in self.evidence.stalls),
            "faults": self._faults(),
            "ticks": dict(self.evidence.schedules.outcomes.most_common()),
        }

    # Promises

    def _hold_the_accepted_against_the_rows(self) -> None:
        evidence, add = self.evidence, self.findings.add
        for job_id in evidence.accepted:
            if job_id not in self.rows:
                add("lost", job_id)
        for key in evidence.conflicts:
            add("key_stood_for_two_jobs", key)
        # A copy has its original's number.
        numbers = Counter(row.n for row in evidence.rows if row.copy_of is None)
        for job_id, accepted in evidence.accepted.items():
            if "keyed" in accepted.how and numbers[accepted.n] > 1:
                add("key_stood_for_two_jobs", f"{job_id}: {numbers[accepted.n]} rows")
        for job_id, said in evidence.cancelled.items():
            found = [row.status for row in self.rows.get(job_id, [])]
            if found != ["cancelled"]:
                add("cancel_did_not_hold", f"{job_id}: {said}, and is {found}")

    def _look_at_the_rows(self) -> None:
        for job_id, rows in self.rows.items():
            live = [row for row in rows if row.finished_at is None]
            if live:
                self.findings.add("stuck", f"{job_id}: {live[0].kind} {live[0].status}")
            if len(rows) > 1:
                self.findings.add("finished_twice", f"{job_id}: {[row.status for row in rows]}")
            if not live:
                self._look_at(rows[0])

    def _look_at(self, row: Row) -> None:
        add = self.findings.add
        starts = self.starts.get(row.id, [])
        for record in starts:
            if record.attempt > row.attempt:
                add("started_after_its_end", f"{row.id}: attempt {record.attempt}, ended with {row.attempt}")
        if row.status == "succeeded":
            result = row.result or {}
            if (result.get("claim"), result.get("attempt")) != (row.claim, row.attempt):
                add("settled_by_a_stale_claim", f"{row.id}: {result}, and the claim was {row.attempt} {row.claim}")
            if (row.id, row.attempt, Event.END) not in self.said:
                add("settled_by_a_stale_claim", f"{row.id}: attempt {row.attempt} never ended")
        wanted = self._wanted(row)
        if row.status not in wanted:
            add("ended_wrongly", f"{row.id}: {row.kind} {row.status} after {row.attempts}: {row.last_error}")
        elif row.status == "failed_permanent" and SAYS.get(row.kind, "") not in (row.last_error or ""):
            add("ended_wrongly", f"{row.id}: {row.kind} does not say why: {row.last_error}")

    def _wanted(self, row: Row) -> tuple[str, ...]:
        if row.kind == KIND:
            return acts.ends_of(self.last_acts.get(row.id), row.times)
        accepted = self.evidence.accepted.get(row.id)
        is_hopeless = accepted is not None and accepted.times >= FOREVER
        if row.id in self.evidence.cancelled:
            return ("cancelled",)
        wanted = "failed_permanent" if is_hopeless else "succeeded"
        return (wanted, "cancelled") if row.id in self.evidence.perhaps_cancelled else (wanted,)

    def _look_at_the_answers(self) -> None:
        add = self.findings.add
        killed = [each.began_at for each in self.evidence.injected if each.pids and "web" in each.touches]
        for answer in self.evidence.answers:
            what = f"{answer.call} {answer.status or answer.error} after {answer.seconds:.2f} s"
            if answer.seconds > ANSWER_SECONDS:
                add("hung", what)
            if answer.status == 0:
                # A connection to a process that was killed breaks when it is next used.
                if not any(answer.idle_since - 1 <= at <= answer.ended_at for at in killed):
                    add("answered_wrongly", f"{what}, and no process of gunicorn was killed")
            elif answer.status == 503:
                if not answer.retry_after:
                    add("answered_wrongly", f"{what}, without Retry-After")
            elif answer.status >= 400 and not acts.may_be_refused(
                answer, self.evidence.witness, self.evidence.accepted
            ):
                add("answered_wrongly", f"{what} {answer.error}")

    # Starts beyond the first

    def _explain_the_starts(self) -> None:
        for job_id, starts in self.starts.items():
            starts.sort(key=lambda record: record.attempt)
            for before, after in zip(starts, starts[1:], strict=False):
                # A job that runs out of memory in a used child process is run once more, in a fresh one.
                if before.attempt == after.attempt and self.kinds.get(job_id) == "c.apart_grows":
                    self.causes["it ran out of memory in a process that had run others"] += 1
                elif before.attempt == after.attempt:
                    self.findings.add("started_twice_under_one_claim", f"{job_id}: attempt {after.attempt}")
                else:
                    self._explain(job_id, before, after)

    def _explain(self, job_id: str, before: Record, after: Record) -> None:
        ways = [way for way in self.ways_back[job_id] if before.attempt == way.attempt]
        # What it went back to before it ended needs no other cause.
        ways.sort(key=lambda way: way.how != "retry")
        cause = "an operator retried it" if ways and ways[0].how == "retry" else None
        if ways:
            explain = {"crash": self._crash, "fail": self._fail, "release": self._release}.get(ways[0].how)
            cause = explain(job_id, before, after, ways[0]) if explain else cause
        if cause is None:
            how = f"{ways[0].how} at {ways[0].at:.2f}" if ways else "no way back"
            near = [
                f"{each.name} {each.pids} at {each.began_at:.2f}"
                for each in self.evidence.injected
                if abs(each.began_at - before.at) < SEEN_SECONDS
            ]
            self.findings.add(
                "unexplained",
                f"{job_id}: {self.kinds.get(job_id)} attempt {before.attempt} in {before.pid} at {before.at:.2f},"
                f" then {after.attempt} in {after.pid} at {after.at:.2f}: {how}; near: {', '.join(near)};"
                f" said: {[row.last_error for row in self.rows[job_id]]}",
            )
        else:
            self.causes[cause] += 1

    def _crash(self, job_id: str, before: Record, after: Record, way: WayBack) -> str | None:
        death, worker = self.died_at.get(before.pid), self.evidence.workers.get(way.worker)
        was_alive = worker is not None and death is not None and (worker.gone_at or 0.0) < death.at - SEEN_LATE_SECONDS
        if death is not None and not was_alive and death.at <= way.at + SEEN_SECONDS:
            why = self._why_it_died(before.pid, death.why, death.at)
            if why is not None:
                self._time_restart(why, death.at, after.at)
            return None if why is None else f"its process died: {why}"
        why = self._why_it_lost_its_lease(before.pid, worker) if worker else None
        if why is not None:
            self.leases_lost[why] += 1
        return None if why is None else f"its process lost the lease: {why}"

    def _time_restart(self, why: str, died_at: float, again_at: float) -> None:
        """Note how long the restart took, separately if the workers could not reach the database meanwhile."""
        for fault in self.evidence.injected:
            lingers = DEADLINE_SECONDS if fault.name in SILENT else 0.0
            if "workers" in fault.touches and fault.began_at < again_at and fault.ended_at + lingers > died_at:
                self.restarts_in_trouble.append(again_at - died_at)
                return
        self.restarts[why].append(again_at - died_at)

    def _why_it_died(self, pid: int, why: str, at: float) -> str | None:
        if why != "ended":
            return why
        ran = [record for record in self.starts_of[pid] if record.at <= at]
        if any(self.kinds.get(str(each.job)) == "c.exits" and at - each.at < SEEN_SECONDS for each in ran):
            return "handler_exits"
        if any(self.kinds.get(str(each.job)) == "c.hangs" and at - each.at < REPLACED_SECONDS for each in ran):
            return "handler_hangs"
        return None

    def _why_it_lost_its_lease(self, pid: int, worker: Worker) -> str | None:
        gone_at = worker.gone_at or float("inf")
        since = worker.beat_at or 0.0
        around = [each for each in self.evidence.injected if each.began_at <= gone_at and each.ended_at >= since - 1]
        for each in around:
            if pid in each.pids and each.name == "worker_paused":
                return each.name
        for record in self.starts_of[pid]:
            why = HOLD_THE_GIL.get(self.kinds.get(str(record.job), ""))
            if why is not None and since - 5 <= record.at <= gone_at:
                return why
        for each in around:
            if "workers" in each.touches and each.name != "queue_paused":
                return each.name
        stood_still = any(began_at <= gone_at and ended_at >= since for began_at, ended_at in self.evidence.stalls)
        return "the machine stood still" if stood_still else None

    def _fail(self, job_id: str, before: Record, after: Record, way: WayBack) -> str | None:
        if (job_id, before.attempt, Event.RAISED) in self.said:
            return "its handler raised"
        if (job_id, before.attempt, Event.STOPPED) in self.said:
            return "it exceeded its timeout"
        if self.kinds.get(job_id) == "c.apart_exits":
            return "its handler ended its own process"
        if self.kinds.get(job_id, "").startswith("c.apart") and self._was_its_child_killed(before, way):
            return "its isolated process was killed"
        return "it ignored its timeout" if self.kinds.get(job_id) == "c.hangs" else None

    def _was_its_child_killed(self, before: Record, way: WayBack) -> bool:
        return any(
            each.name == "child_killed" and before.pid in each.pids and 0 <= way.at - each.began_at <= KILLED_SECONDS
            for each in self.evidence.injected
        )

    def _release(self, job_id: str, before: Record, after: Record, way: WayBack) -> str | None:
        worker = self.evidence.workers.get(way.worker)
        if worker is not None and worker.is_buried:
            why = self._why_it_lost_its_lease(before.pid, worker)
            return None if why is None else f"given back by a process that lost its lease: {why}"
        death = self.died_at.get(before.pid)
        if death is not None and way.at <= death.at + 1:
            why = self._why_it_died(before.pid, death.why, death.at)
            return None if why is None else f"given back by a process that stopped: {why}"
        return None

    # How long

    def _back(self, side: str, name: str, *, any_time: bool = False) -> list[float]:
        return [
            seconds
            for each in self.evidence.injected
            if side in each.touches
            and name in ("all", each.name)
            and (seconds := self._back_after(each, side, any_time=any_time))
        ]

    def _back_after(self, fault: Injected, side: str, *, any_time: bool) -> float | None:
        """Return the time from the fault's end to the next success; None if another fault came between."""
        marks = self.successes[side]
        place = bisect_left(marks, fault.ended_at)
        if place == len(marks):
            return None
        back_at = marks[place]
        for other in self.evidence.injected:
            is_between = other.began_at < back_at and other.ended_at > fault.began_at
            if (
                not any_time
                and other is not fault
                and is_between
                and side in other.touches
                and other.ended_at > fault.ended_at - 0.5
            ):
                return None
        return max(back_at - fault.ended_at, 1e-6)

    def _faults(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in sorted({each.name for each in self.evidence.injected}):
            these = [each for each in self.evidence.injected if each.name == name]
            during = Counter(
                _answer_name(answer)
                for answer in self.evidence.answers
                if any(each.began_at <= answer.ended_at <= max(each.ended_at, each.began_at + 1) for each in these)
            )
            found[name] = {
                "count": len(these),
                "which": dict(Counter(each.which for each in these if each.which).most_common()),
                "lasted_seconds": spread(each.ended_at - each.began_at for each in these),
                "answers_during": dict(during) if any("web" in each.touches for each in these) else None,
                "api_back_seconds": spread(self._back("web", name)),
                "jobs_back_seconds": spread(self._back("workers", name)),
                "restarted_jobs": len(self.restarts.get(name, ())),
                "restart_seconds": spread(self.restarts.get(name, ())),
                "leases_lost_by_jobs": self.leases_lost.get(name, 0),
                "jobs": self._ends_of(these),
            }
        return found

    def _ends_of(self, faults: Sequence[Injected]) -> dict[str, int]:
        """Return how the jobs ended that these faults have enqueued."""
        return dict(
            Counter(row.status for fault in faults for job_id in fault.jobs for row in self.rows.get(job_id, ()))
        )

    def _targets(self, figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
        def target(name: str, which: str, bound: float) -> dict[str, Any]:
            found = figures[name]
            return {"bound": bound, "found": found and found[which], "met": found is None or found[which] < bound}

        restart = self.evidence.lease_seconds + RESTART_SECONDS
        return {
            "crash_to_restart_p99": target("crash_to_restart_seconds", "p99", restart),
            "database_back_to_first_job": target("jobs_back_after_database_stopped_seconds", "max", JOBS_BACK_SECONDS),
            "database_back_to_api": target("api_back_after_database_stopped_seconds", "max", API_BACK_SECONDS),
        }


def _answer_name(answer: Answer) -> str:
    return str(answer.status) if answer.status else "dropped"


def judge(evidence: Evidence) -> dict[str, Any]:
    """Return the judgement of the evidence."""
    return Judge(evidence).judge()
