"""One outcome of each sort."""

from __future__ import annotations

from haulier.domain.outcome import Outcome, Verb

OUTCOMES = {
    "complete": Outcome.complete({"done": True}),
    "fail": Outcome.fail("no luck", delay=1.0, backoff=1.0),
    "fail for good": Outcome.fail_for_good("hopeless"),
    "release": Outcome.release(),
    "snooze": Outcome.snooze(1.0),
    "crash": Outcome(Verb.CRASH, error="crashed", delay=0.0),
}
