"""Sends batches of jobs, two at a time, and gives the answers in the order of the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.lines import Batch, Line
from haulier.client.api import Api, Call

AT_ONCE = 2
# A batch may wait 20 s for its turn in the service, which grants its body a second for each 50 KB.
BATCH_SECONDS, BYTES_A_SECOND = 40.0, 50_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line. `answer` is what the service said of it; 201 is stored, 200 known before."""

    line: Line
    status: int
    answer: dict[str, Any]

    @property
    def is_refused(self) -> bool:
        """Return whether no job stands for it."""
        return self.status not in (200, 201)


Task = tuple[Batch, "Future[list[Outcome]]"]


def outcomes(api: Api, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Outcome]]]:
    """Yield each batch with what became of its lines, in order. Raises: CommandError."""
    tasks: SimpleQueue[Task | None] = SimpleQueue()
    # Read before there are threads: it may run a command.
    _ = api.key
    # Daemons, so that Ctrl-C need not wait for an answer.
    threads = [Thread(target=_work, args=(api, tasks), daemon=True, name="haulier-send") for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield from _in_order(batches, tasks)
    finally:
        for _ in threads:
            tasks.put(None)
    for thread in threads:
        thread.join()


def _in_order(batches: Iterable[Batch], tasks: SimpleQueue[Task | None]) -> Iterator[tuple[Batch, list[Outcome]]]:
    under_way: deque[Task] = deque()
    for batch in batches:
        task: Task = (batch, Future())
        under_way.append(task)
        tasks.put(task)
        if len(under_way) == AT_ONCE:
            yield _answered(under_way.popleft())
    while under_way:
        yield _answered(under_way.popleft())


def _answered(task: Task) -> tuple[Batch, list[Outcome]]:
    batch, answer = task
    return batch, answer.result()


def _work(api: Api, tasks: SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        batch, answer = task
        try:
            answer.set_result(_send(api, batch))
        except BaseException as error:
            answer.set_exception(error)


def _send(api: Api, batch: Batch) -> list[Outcome]:
    sent = batch.to_send
    answers = iter(_asked(api, sent) if sent else [])
    found = []
    for line in batch.lines:
        if line.fault is None:
            answer = next(answers)
            found.append(Outcome(line, answer["status"], answer))
        else:
            found.append(Outcome(line, 0, {"error": "malformed", "message": f"the line {line.fault}"}))
    return found


def _asked(api: Api, sent: list[Line]) -> list[dict[str, Any]]:
    body = b"\n".join(line.sent for line in sent)
    answer = api.send(
        Call(
            "POST",
            "/jobs/batch",
            [("atomic", "false")],
            raw=body,
            headers={"Content-Type": "application/x-ndjson"},
            # Each line has an idempotency key.
            is_safe=True,
            seconds=BATCH_SECONDS + len(body) / BYTES_A_SECOND,
        )
    )
    items: list[dict[str, Any]] = answer.body["items"]
    if len(items) != len(sent):
        raise CommandError(f"{api.service.host} answered for {len(items)} of {len(sent)} lines", Code.UNREACHABLE)
    return items
