"""How a run ended: the value between running a job and settling it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum

from haulier.domain.job import Json

# An escaped NUL, but not an escaped backslash before the letters u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# As many digits as the largest double has.
_LONG_NUMBER = re.compile(r"(?<!\d)\d{309,}", re.ASCII)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')

MAX_ERROR_BYTES = 4096
MAX_RESULT_BYTES = 64 * 1024


class Verb(StrEnum):
    """What a settle does to the job; whatever it is, a requested cancel wins."""

    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"
    SNOOZE = "snooze"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way out of `running`, made storable before it reaches the database.

    `result` is JSON text of at most 64 KiB; error is clean text of at most 4 KiB.
    Units: delay and backoff are seconds; a FAIL without delay is permanent, a RELEASE without one keeps its run_at.
    """

    verb: Verb
    result: str | None = None
    error: str | None = None
    delay: float | None = None
    backoff: float | None = None

    @classmethod
    def complete(cls, result: Json = None) -> Outcome:
        """Return success with this result, or a permanent failure if the result cannot be stored."""
        if result is None:
            return _DONE
        try:
            text = _encode(result)
            size = len(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            return cls.fail_for_good(f"the handler's result is not JSON: {error}")
        if _NUL.search(text):
            return cls.fail_for_good("the handler's result holds a NUL character, which cannot be stored")
        if size > MAX_RESULT_BYTES:
            return cls.fail_for_good(
                f"the handler's result is {size} bytes long; {MAX_RESULT_BYTES} are stored at most"
            )
        if _LONG_NUMBER.search(text) and _is_beyond_a_double(text):
            return cls.fail_for_good("the handler's result holds a number beyond the range of an IEEE double")
        return cls(Verb.COMPLETE, result=text)

    @classmethod
    def fail(cls, error: str, delay: float, backoff: float | None = None) -> Outcome:
        """Return a failed attempt, retried after the delay while the budget lasts."""
        return cls(Verb.FAIL, error=clean(error), delay=delay, backoff=backoff)

    @classmethod
    def fail_for_good(cls, error: str) -> Outcome:
        """Return a failure that no further attempt would mend."""
        return cls(Verb.FAIL, error=clean(error))

    @classmethod
    def release(cls, delay: float = 0.0, *, why: str | None = None) -> Outcome:
        """Return the outcome of a job that is queued again without being charged for the attempt.

        `why` becomes its last error, and is none of its failed attempts.
        """
        return cls(Verb.RELEASE, error=None if why is None else clean(why), delay=delay)

    @classmethod
    def give_back(cls) -> Outcome:
        """Return the outcome of a job that was not started and goes back to its old place in the queue."""
        return cls(Verb.RELEASE)

    @classmethod
    def snooze(cls, delay: float) -> Outcome:
        """Return the outcome of a job that asked to run later: the attempt is not charged, the snooze is counted."""
        return cls(Verb.SNOOZE, delay=delay)


# Made once: json.dumps makes one for each call that has such options.
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_DONE = Outcome(Verb.COMPLETE, result="null")


def _is_beyond_a_double(text: str) -> bool:
    """Return whether the JSON text holds an integer beyond a double; a float beyond it _encode has refused."""
    return any(math.isinf(float(digits)) for digits in _LONG_NUMBER.findall(_STRING.sub("", text)))


def clean(text: str) -> str:
    """Return the text as Postgres can hold it, cut to 4 KiB: no NUL, no lone surrogate."""
    encoded = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
    return encoded[:MAX_ERROR_BYTES].decode("utf-8", "ignore")
