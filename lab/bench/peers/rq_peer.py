"""RQ on Redis: workers that run jobs in their own process, and results that are not kept."""

import logging
import time

import redis
from options import batches, say, url, verb
from rq import Queue, SimpleWorker


def noop(n: int) -> None:
    pass


def main() -> None:
    import rq_peer

    connection = redis.Redis.from_url(url)
    queue = Queue(connection=connection)
    if verb == "enqueue":
        one = Queue.prepare_data(rq_peer.noop, args=(1,), result_ttl=0)
        began = time.perf_counter()
        for size in batches():
            queue.enqueue_many([one] * size)
        say(time.perf_counter() - began)
    else:
        logging.disable(logging.WARNING)
        SimpleWorker([queue], connection=connection).work(logging_level="ERROR")


if __name__ == "__main__":
    main()
