"""The measures, in the order of docs/benchmarks.md. Each is a module: its rows, one repetition, its section."""

from lab.bench.harness import Measure
from lab.bench.measures import (
    busy_caller,
    bytes,
    claim_flat,
    costs,
    dashboard,
    distance,
    drain,
    enqueue,
    insert,
    isolated,
    latency,
    operation,
    post,
    queues,
    reads,
    refused_schedules,
    schedules,
    snapshot,
)

ALL: list[Measure] = [
    drain,
    queues,
    enqueue,
    post,
    insert,
    latency,
    snapshot,
    distance,
    claim_flat,
    isolated,
    reads,
    operation,
    schedules,
    refused_schedules,
    dashboard,
    bytes,
    busy_caller,
    costs,
]
