"""Measures this process for its heartbeats: memory, CPU, busy threads, and its isolated processes."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from haulier.domain.vitals import MINUTES, MOST_NAMED, IsolatedEnds, IsolatedProcess, Vitals
from haulier.kinds import Kind
from haulier.worker.steps.memory_growth import MemoryGrowth
from haulier.worker.supply.held import HeldJob

MINUTE = 60.0
# A notice names at most this many kinds.
MOST_KINDS = 3


def resident(pid: int | None = None) -> int | None:
    """Return the resident memory of a process, or of this one; None if the system does not say. Units: bytes."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb", buffering=0) as file:
            # A process that has ended, but is not reaped yet, has none.
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") or None
    except (OSError, ValueError, IndexError):
        return None


def cpu_seconds(pid: int) -> float | None:
    """Return how much processor time a process has used; None if the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            words = file.read().rpartition(b")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


@dataclass(slots=True)
class _Mean:
    """A mean of samples; None before the first."""

    _sum: int = 0
    _samples: int = 0

    def add(self, value: int) -> None:
        self._sum += value
        self._samples += 1

    @property
    def value(self) -> float | None:
        return round(self._sum / self._samples, 2) if self._samples else None


@dataclass(slots=True)
class VitalSigns:
    """Samples the threads that `running` returns, and measures the rest when a heartbeat asks. For one thread."""

    running: Callable[[], Iterable[HeldJob | None]]
    kinds: Mapping[str, Kind]
    # The isolated processes, each by its id and kind; those that ended within the hour, and how many ended in all.
    isolated: Callable[[], Sequence[tuple[int, str]]]
    ended: Callable[[], tuple[Sequence[IsolatedEnds], int]]
    # How often the growth of memory is judged. A heartbeat also comes right before each look for dead workers.
    beat_seconds: float = 0.0
    _judged_at: float = float("-inf")
    _growth: MemoryGrowth = field(default_factory=MemoryGrowth)
    _grew_with: Counter[str] = field(default_factory=Counter)
    # The kinds that ran since the growth was judged, and the jobs at the last sample: a thread keeps its last job.
    _seen: set[str] = field(default_factory=set)
    _before: frozenset[HeldJob] = frozenset()
    _has_worked: bool = False
    _busy: _Mean = field(default_factory=_Mean)
    _minute: _Mean = field(default_factory=_Mean)
    _minutes: deque[float | None] = field(default_factory=lambda: deque(maxlen=MINUTES - 1))
    _minute_at: float = field(default_factory=time.monotonic)
    # When each process was last measured, and its processor time then; this process is None.
    _cpu: dict[int | None, tuple[float, float]] = field(
        default_factory=lambda: {None: (time.monotonic(), time.process_time())}
    )

    def sample(self) -> None:
        """Count the threads that are in a handler, several times a second."""
        now, jobs = time.monotonic(), frozenset(job for job in self.running() if job and job.began_at is not None)
        # Of a stuck thread the job has ended, but not its run.
        busy = {job for job in jobs if job.seconds is None}
        self._seen.update(job.job.kind for job in busy | (jobs - self._before))
        self._before = jobs
        while now - self._minute_at >= MINUTE:
            self._minutes.append(self._minute.value)
            self._minute = _Mean()
            self._minute_at += MINUTE
        self._busy.add(len(busy))
        self._minute.add(len(busy))

    def take(self) -> Vitals:
        """Return what there is to say since the last call."""
        memory, growth = resident(), self._growth
        if memory is not None:
            self._judge(memory)
        ends, ended = self.ended()
        vitals = Vitals(
            memory=memory,
            usual_memory=growth.usual,
            is_growing=memory is not None and growth.is_growing,
            grew_with=[kind for kind, _ in self._grew_with.most_common(MOST_KINDS)],
            cpu=self._cores(None, time.process_time()),
            busy=self._busy.value,
            busy_minutes=[*self._minutes, self._minute.value],
            isolated=self._isolated(),
            isolated_ended=ended,
            ends=ends,
        )
        self._busy = _Mean()
        return vitals

    def _judge(self, memory: int) -> None:
        now = time.monotonic()
        if now - self._judged_at < self.beat_seconds:
            return
        self._judged_at = now
        self._has_worked = self._has_worked or bool(self._seen)
        if self._growth.beat(memory, has_worked=self._has_worked):
            self._grew_with.update(kind for kind in self._seen if kind in self.kinds and not self.kinds[kind].isolated)
        self._seen = set()

    def _isolated(self) -> list[IsolatedProcess]:
        pids = self.isolated()[:MOST_NAMED]
        self._cpu = {pid: last for pid, last in self._cpu.items() if pid is None or pid in dict(pids)}
        return [IsolatedProcess(kind, pid, resident(pid), self._cores(pid, cpu_seconds(pid))) for pid, kind in pids]

    def _cores(self, pid: int | None, used: float | None) -> float | None:
        """Return how many cores the process has used on average since it was last measured; None at first."""
        if used is None:
            return None
        now = time.monotonic()
        last_at, last = self._cpu.get(pid, (now, used))
        self._cpu[pid] = now, used
        return round((used - last) / (now - last_at), 3) if now > last_at else None
