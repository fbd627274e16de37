"""Dramatiq on Redis: processes with threads."""

import os
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

URL = os.environ.get("BENCH_REDIS") or sys.argv[2]
dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def noop(n: int) -> None:
    pass


def main() -> None:
    from options import count, options, say, url, verb

    if verb == "enqueue":
        began = time.perf_counter()
        for n in range(count):
            noop.send(n)
        say(time.perf_counter() - began)
        return
    command = ["-m", "dramatiq", "dramatiq_peer", "-p", options["processes"], "-t", options["threads"]]
    os.execve(sys.executable, [sys.executable, *command], {**os.environ, "BENCH_REDIS": url})


if __name__ == "__main__":
    main()
