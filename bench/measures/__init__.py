"""What is measured, in the order of docs/benchmarks.md. One module each: its rows, one repetition, its section."""

from bench.measures import (
    bytes,
    claim_flat,
    costs,
    dead_rows,
    drain,
    enqueue,
    insert,
    kill,
    latency,
    link,
    memory,
    mixed,
    post,
    queues,
    slow_jobs,
    snapshot,
)

ALL = [
    drain,
    queues,
    enqueue,
    post,
    insert,
    latency,
    snapshot,
    dead_rows,
    claim_flat,
    mixed,
    slow_jobs,
    memory,
    bytes,
    link,
    kill,
    costs,
]
