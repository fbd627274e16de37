"""procrastinate: psycopg 3, one asynchronous worker with concurrent jobs."""

import asyncio
import logging
import time

import procrastinate
from options import batches, options, say, url, verb

logging.disable(logging.WARNING)
concurrency = int(options["concurrency"])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=concurrency + 4))


@app.task(name="noop")
async def noop(n: int) -> None:
    pass


async def main() -> None:
    async with app.open_async():
        if verb == "setup":
            await app.schema_manager.apply_schema_async()
        elif verb == "enqueue":
            began = time.perf_counter()
            for size in batches():
                await noop.batch_defer_async(*[{"n": 1}] * size)
            say(time.perf_counter() - began)
        else:
            await app.run_worker_async(wait=True, concurrency=concurrency, fetch_job_polling_interval=0.5)


asyncio.run(main())
