"""`python -m lab.move`: the figures of docs/cells.md, "Move a cell"; `python -m lab.move kills`: the table of kills."""

from __future__ import annotations

import sys
from dataclasses import asdict

from lab.move.kills import CASES, outcome_of
from lab.move.run import Size, move_under_load
from lab.move.stage import pair, servers

SIZE = Size(per_second=50, workers=4, waiting=20_000, waiting_seconds=150, finished=1_000_000, load_seconds=15)


def main() -> int:
    """Run, print, and return 1 if something was lost, doubled, or written on both sides."""
    with servers() as (a, b):
        if sys.argv[1:2] == ["kills"]:
            first, last = (int(word) for word in sys.argv[2:] or (0, len(CASES)))
            bad = 0
            for number, case in enumerate(CASES[first:last]):
                outcome = outcome_of(case, a, b, f"cell_{number}")
                bad += not outcome.is_good
                print(f"| {case} | {outcome} |", flush=True)
            return int(bad > 0)
        with pair(a, b, "cell") as both:
            outcome_ = move_under_load(both, SIZE)
    for name, value in asdict(outcome_).items():
        print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
    return int(outcome_.lost + outcome_.doubled + outcome_.restarted > 0 or outcome_.both_wrote or outcome_.gap > 3)


if __name__ == "__main__":
    sys.exit(main())
