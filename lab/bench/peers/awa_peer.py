"""awa: its core in Rust, handlers in Python, with either of its two storage engines."""

import asyncio
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from awa import AsyncClient, Job
from options import batches, note, options, say, url, verb


@dataclass
class Noop:
    n: int


@dataclass
class Started:
    n: int


# It refuses an address without a host; that of the socket, in the query, is the one that counts.
url = url.replace("@/", "@localhost/")


async def main() -> None:
    client = AsyncClient(url)
    is_new = options["engine"] == "queue_storage"
    if verb == "setup":
        command = [str(Path(sys.executable).with_name("awa")), "--database-url", url, "migrate"]
        subprocess.run(command, check=True, capture_output=True)
        if is_new:
            await client.install_queue_storage()
    elif verb == "enqueue":
        insert = client.enqueue_many_copy if is_new else client.insert_many_copy
        began = time.perf_counter()
        for size in batches():
            await insert([Noop(1)] * size, queue="default")
        say(time.perf_counter() - began)
    else:
        await work(client)


async def work(client: AsyncClient) -> None:
    @client.task(Noop, queue="default")
    async def noop(job: Job) -> None:
        pass

    @client.task(Started, queue="default")
    async def started(job: Job) -> None:
        note(job.args.n)

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await client.start([("default", int(options["workers"]))])
    await stopped.wait()
    await client.shutdown()


asyncio.run(main())
