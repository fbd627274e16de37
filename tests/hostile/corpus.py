"""The corpus: small tables, multiplied into requests that the service must refuse, or answer without harm.

`corpus()` gives those of which nothing may be stored: most are to be refused with 4xx or by closing, some ask for no
change and may be answered. `poisoned()` of inside.py gives those that are taken, as the contract says, since only a run
can judge them: jobs whose addresses and paths lead inside, which a worker must fail for good.
"""

from __future__ import annotations

from tests.hostile.bodies import batches, bodies, types
from tests.hostile.doors import at_doors
from tests.hostile.framing import framings
from tests.hostile.paths_and_headers import empty_segments, headers, paths, queries
from tests.hostile.smuggling import smuggled
from tests.hostile.wire import Hostile


def corpus() -> list[Hostile]:
    """Return every request of which nothing may be stored."""
    at_paths = [*paths(), *empty_segments(), *queries()]
    return [*bodies(), *batches(), *types(), *at_paths, *headers(), *framings(), *smuggled(), *at_doors()]
