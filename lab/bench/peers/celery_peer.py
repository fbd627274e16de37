"""Celery on Redis: prefork processes, acknowledged late, no results."""

import os
import sys
import time

from celery import Celery

URL = os.environ.get("BENCH_REDIS") or sys.argv[2]
app = Celery("celery_peer", broker=URL, backend=None)
app.conf.update(
    task_ignore_result=True, worker_prefetch_multiplier=64, task_acks_late=True, broker_connection_retry_on_startup=True
)


@app.task(name="noop")
def noop(n: int) -> None:
    pass


def main() -> None:
    from options import count, options, say, url, verb

    if verb == "enqueue":
        began = time.perf_counter()
        with app.producer_pool.acquire(block=True) as producer:
            for n in range(count):
                noop.apply_async((n,), producer=producer)
        say(time.perf_counter() - began)
        return
    command = ["-m", "celery", "-A", "celery_peer", "worker", "-c", options["processes"], "-l", "ERROR"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execve(sys.executable, [sys.executable, *command], {**os.environ, "BENCH_REDIS": url, "C_FORCE_ROOT": "1"})


if __name__ == "__main__":
    main()
