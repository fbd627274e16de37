"""The words that lab/bench/contenders/peers.py gives: VERB URL JOBS NAME=VALUE…"""

import json
import os
import sys
import time

verb, url, _count, *_words = sys.argv[1:]
count = int(_count)
options = {name: value for name, _, value in (word.partition("=") for word in _words)}
BATCH = 1000


def batches() -> list[int]:
    """Return the sizes of the batches."""
    return [min(BATCH, count - done) for done in range(0, count, BATCH)]


def say(seconds: float) -> None:
    """Tell the harness."""
    print(json.dumps({"seconds": seconds}))


def note(n: int) -> None:
    """Write the same line as lab/bench/kinds.py: the number, the machine's monotonic clock, the process."""
    with open(os.environ.get("BENCH_NOTES", os.devnull), "a") as notes:
        notes.write(f"{n} {time.monotonic():.6f} {os.getpid()}\n")
