"""What a busy caller of a benchmark sends is answered as it is meant to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lab.bench.abuse import CALLS, Abuser
from lab.bench.measures.busy_caller import BUSY
from tests.http.callers import SECRET
from tests.web import gunicorn

ANSWERS = {"gets": 200, "dry_runs": 200, "searches": 200, "scrapes": 200, "sign_ins": 403}


def test_each_move_of_a_busy_caller_reaches_what_it_is_about(database: str, eventually: Callable[..., Any]) -> None:
    assert {*CALLS, "sign_ins"} == set(ANSWERS) == {*BUSY, "gets"}

    found = {}
    with gunicorn(database, eventually, WEB_CONCURRENCY="1", HAULIER_API_KEY=SECRET) as server:
        port = urlsplit(server.url).port
        assert port
        for move in ANSWERS:
            with Abuser(port, SECRET, seed=1, threads=1, moves=[move]) as abuser:
                eventually(lambda: abuser.answers.total() >= 3)
            found[move] = abuser.answers

    # Before the failures of the address are used up.
    assert {move: (move, ANSWERS[move]) in answers for move, answers in found.items()} == dict.fromkeys(ANSWERS, True)
    assert {status for answers in found.values() for _, status in answers} <= {200, 403, 429}
