"""PgQueuer: asyncpg and uvloop, jobs dequeued in batches."""

import asyncio
import logging
import signal
import time
from datetime import timedelta

import asyncpg
import uvloop
from options import batches, options, say, url, verb
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

logging.disable(logging.WARNING)


async def main() -> None:
    driver = AsyncpgDriver(await asyncpg.connect(url))
    queries = Queries(driver)
    if verb == "setup":
        await queries.install()
    elif verb == "enqueue":
        began = time.perf_counter()
        for size in batches():
            await queries.enqueue(["noop"] * size, [b'{"n": 1}'] * size, [0] * size)
        say(time.perf_counter() - began)
    else:
        await work(PgQueuer(driver))


async def work(pgq: PgQueuer) -> None:
    @pgq.entrypoint("noop")
    async def noop(job: Job) -> None:
        pass

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, pgq.shutdown.set)
    await pgq.run(batch_size=int(options["batch"]), dequeue_timeout=timedelta(seconds=1))


uvloop.run(main())
