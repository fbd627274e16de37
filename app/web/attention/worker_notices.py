"""Notices on the memory of workers and on isolated processes that die."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from haulier.domain.text import count, size
from haulier.domain.vitals import FULL, KILLED
from haulier.queue.health.ended_workers import EndedWorker
from haulier.queue.health.worker_list import Worker

from .known_facts import Facts
from .notice import Action, Level, Line, Notice, few, magnitude

# So many isolated processes of a kind that die within an hour are no accident.
LEAST_ENDS = 3


def memory_growth(facts: Facts) -> Iterator[Notice]:
    """The memory of workers has grown steadily past its usual size."""
    growing = [each for each in _living(facts) if each.vitals and each.vitals.is_growing]
    growing.sort(key=lambda each: -_memory(each))
    # It has got worse when the memory is twice, three times … the usual size.
    about = {f"{each.id}": int(_memory(each) / _usual(each)) for each in growing}
    if len(growing) == 1:
        [worker] = growing
        yield Notice(Level.WARN, _said_of(worker), advice_on_memory(worker), (_page_of(worker),), about=about)
    elif growing:
        lines = few([Line(f"{_said_of(each)}. {_grew_with(each)}", (_page_of(each),)) for each in growing])
        more = "A handler keeps what it has used. Restart them before their memory is used up."
        look = (Action("Workers", "workers.show"),)
        yield Notice(Level.WARN, f"The memory of {len(growing)} workers keeps growing", more, look, lines, about)


def _living(facts: Facts) -> Sequence[Worker]:
    return facts.fleet.living if facts.fleet else ()


def not_replaced(lost: Sequence[EndedWorker], facts: Facts) -> list[EndedWorker]:
    """Return the workers in whose place no other has come: one with the same queues that started since.

    When a worker died is unknown: between its last heartbeat and the one that it missed. One that started in between
    may have started beside it, as in a deploy, so it does not count. One that came and was lost itself still counts:
    else its own loss would bring back the notice of the worker before it.
    """
    came: list[Worker | EndedWorker] = [*(facts.fleet.workers if facts.fleet else ()), *lost]
    left = []
    for each in sorted(lost, key=lambda each: each.beat_at):
        new = next((one for one in came if one.started_at > each.missed_at and one.queues == each.queues), None)
        if new is None:
            left.append(each)
        else:
            came.remove(new)
    return left


def advice_on_memory(worker: Worker) -> str:
    """Return what is known about the growth of a worker's memory, and what to do."""
    return f"{_grew_with(worker)} A handler keeps what it has used. Restart the worker before its memory is used up."


def _memory(worker: Worker) -> int:
    return worker.vitals.memory or 0 if worker.vitals else 0


def _usual(worker: Worker) -> int:
    return worker.vitals.usual_memory or 1 if worker.vitals else 1


def _said_of(worker: Worker) -> str:
    memory, usual = size(_memory(worker)), size(_usual(worker))
    return f"Worker {worker.name} keeps growing: {memory} of memory, usually {usual}"


def _grew_with(worker: Worker) -> str:
    kinds = worker.vitals.grew_with if worker.vitals else ()
    return f"While it grew it ran {', '.join(kinds)}." if kinds else "No job was seen while it grew."


def _page_of(worker: Worker) -> Action:
    return Action("Look", "workers.one", (("worker_id", f"{worker.id}"),))


def isolated_ends(facts: Facts) -> Iterator[Notice]:
    """Isolated processes died repeatedly."""
    ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for worker in _living(facts):
        for end in worker.vitals.ends if worker.vitals else ():
            ends[end.kind][end.how] += end.times
    often = {kind: found for kind, found in ends.items() if found.total() >= LEAST_ENDS}
    kinds = sorted(often, key=lambda kind: -often[kind].total())
    about = {kind: magnitude(often[kind].total()) for kind in kinds}
    if len(kinds) == 1:
        [kind] = kinds
        yield Notice(Level.WARN, _died(kind, often[kind]), _cause(often[kind]), _look_at(kind), about=about)
    elif kinds:
        lines = few([Line(_died(kind, often[kind]), _look_at(kind)) for kind in kinds])
        every = sum((often[kind] for kind in kinds), Counter[str]())
        what = f"Isolated processes of {len(kinds)} kinds died {count(every.total(), 'time')} in the last hour"
        yield Notice(Level.WARN, what, _cause(every), (), lines, about)


def _died(kind: str, found: Mapping[str, int]) -> str:
    how, times = max(found.items(), key=lambda each: each[1])
    died = f"died {count(sum(found.values()), 'time')} in the last hour"
    return f"Isolated processes of {kind} {died} ({times} {how.removeprefix('was ')})"


def _cause(found: Mapping[str, int]) -> str:
    how, _ = max(found.items(), key=lambda each: each[1])
    if how == FULL:
        return "Their handlers leak, or need more than ISOLATED_MEMORY_MB. The worker replaces the processes."
    if how == KILLED:
        return "Probably the machine was out of memory. The worker replaces the processes."
    return "The worker replaces the processes; the errors of the jobs say more."


def _look_at(kind: str) -> tuple[Action, ...]:
    return (Action("Kind", "kinds.one", (("name", kind),)), Action("Errors", "failures.show", (("kind", kind),)))
