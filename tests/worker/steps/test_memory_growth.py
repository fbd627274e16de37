"""Whether the memory of a worker grows steadily, by its size at each heartbeat. It ..."""

from __future__ import annotations

from itertools import repeat

from haulier.worker.steps.memory_growth import SETTLED_BEATS, WARM_UP_BEATS, MemoryGrowth

USUAL = 44.0


def after(*sizes: float, has_worked: bool = True) -> MemoryGrowth:
    """Return the growth of a process that has warmed up, after these sizes in MB."""
    growth = MemoryGrowth()
    for size in (*repeat(USUAL, WARM_UP_BEATS), *sizes):
        growth.beat(round(size * 2**20), has_worked=has_worked)
    return growth


def named_at(step: float) -> float:
    """Return the size in MB at which a leak of `step` MB per heartbeat is noticed."""
    sizes = [USUAL]
    while not after(*sizes).is_growing:
        sizes.append(sizes[-1] + step)
    return sizes[-1]


def test_notices_a_leak_before_twice_the_usual_size() -> None:
    # Up to 48 MB a minute with the default lease.
    too_late = {
        step: size for step in (0.1, 0.5, 1, 2, 4, 8) if not 1.5 * USUAL <= (size := named_at(step)) < 2 * USUAL
    }

    assert too_late == {}


def test_is_silent_on_what_is_no_steady_growth() -> None:
    a_job, rest = [300.0, 300.0], [USUAL] * 3
    grown = {
        "one large job": [*a_job, *rest],
        "large jobs one after the other": [*a_job, *rest, *a_job, *rest, 600, 600, *rest, 900, 900],
        "a job that leaves its memory behind": [*rest, 150, *repeat(300.0, 50)],
        "noise": [USUAL + place % 5 for place in range(500)],
        "growth that ends below": [*(USUAL + place for place in range(20)), *repeat(64.0, 50)],
    }

    assert [name for name, sizes in grown.items() if after(*sizes).is_growing] == []


def test_takes_the_growth_before_and_during_the_first_work_as_usual() -> None:
    growth, sizes = MemoryGrowth(), [40.0, 50.0, 90.0]

    for size in sizes:
        growth.beat(round(size), has_worked=False)
    idle = growth.usual
    for size in (*sizes, *repeat(95.0, WARM_UP_BEATS)):
        growth.beat(round(size), has_worked=True)

    assert (idle, growth.usual, growth.is_growing) == (None, 95, False)


def test_ends_when_the_memory_is_given_back_or_stays_for_hours() -> None:
    leak = [USUAL + 2 * place for place in range(20)]
    assert after(*leak).is_growing

    freed, settled = after(*leak, USUAL), after(*leak, *repeat(leak[-1], SETTLED_BEATS + 3))

    assert (freed.is_growing, settled.is_growing) == (False, False)
    assert settled.usual == round(leak[-1] * 2**20)
    # From there it may begin again.
    assert after(*leak, *repeat(leak[-1], SETTLED_BEATS + 3), *(leak[-1] + 2 * place for place in range(40))).is_growing
