"""What is measured, in the order of docs/benchmarks.md. One module each: its rows, one repetition, its section."""

from bench.measures import (
    claim_flat,
    costs,
    drain,
    enqueue,
    insert,
    kill,
    latency,
    memory,
    mixed,
    post,
    slow_jobs,
    snapshot,
)

ALL = [drain, enqueue, post, insert, latency, snapshot, claim_flat, mixed, slow_jobs, memory, kill, costs]
