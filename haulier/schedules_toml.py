"""schedules.toml: read and checked as a whole, as the API checks what it is sent."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from marshmallow import RAISE, ValidationError, fields, validate

from haulier.domain.cron import MAX_CRON
from haulier.domain.errors import ConfigError, HaulierError
from haulier.domain.job import (
    BAD_NAME,
    BAD_TAG,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    LEAST_INTEGER,
    MAX_DEPTH,
    MAX_MAX_ATTEMPTS,
    MAX_PAYLOAD_BYTES,
    MAX_PRIORITY,
    MAX_TAGS,
    MAX_TIMEOUT_SECONDS,
    MIN_PRIORITY,
    MOST_EXACT,
    MOST_INTEGER,
    NAME_PATTERN,
    TAG_PATTERN,
    Json,
)
from haulier.domain.schedule import (
    DEFAULT_MISSED_MAX,
    DEFAULT_MISSED_WITHIN_SECONDS,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_MISSED,
    MAX_MISSED_WITHIN_SECONDS,
    MAX_ZONE,
    NOT_OF_A_SCHEDULE,
    TAKEN_NAMES,
    InvalidSchedule,
    Missed,
    Overlap,
    Rule,
    Timetable,
    timetable,
)
from haulier.kinds import Kind, PayloadSchema
from haulier.kinds.sdk.payload import Pattern, faults
from haulier.kinds.sdk.secret_fields import secret_fields, secret_texts, without_in

MOST_BYTES = 4 * 1024 * 1024
# The parser's time grows with the square of the parts of a key: one of 100 KB took over a minute. What is nested deeper
# than MAX_DEPTH, but not so deep, is refused with its schedule and its field.
MOST_KEY_PARTS = MAX_DEPTH + 16
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+(?:"|$)|'[^'\n]*+(?:'|$))"""
_NEXT_PART = rf"[ \t]*+\.[ \t]*+{_PART}"
# A key of too many parts; or what is passed over, since it may hold text that looks like one: strings and comments.
_LONG_KEY = re.compile(
    rf"(?P<key>{_PART}(?:{_NEXT_PART}){{{MOST_KEY_PARTS}}})"
    r'|"""(?:[^\\]|\\.)*?(?:"{3,5}|\Z)'
    r"|'''.*?(?:'{3,5}|\Z)"
    rf"|{_PART}(?:{_NEXT_PART})*+"
    r"|#[^\n]*+",
    re.DOTALL | re.MULTILINE,
)
OF_A_TICK = "A schedule's job cannot have it."
# What the API takes beside these, and why the file does not.
ELSEWHERE = {
    name: "Not in the file, which each release applies again: `haulier schedules pause`, which lasts."
    for name in ("paused", "paused_until")
}


class FaultyFile(HaulierError):
    """The file cannot be applied. Shape: faults has a line for each reason, with its schedule and its field."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{path} has {count}: nothing was changed")
        self.faults = [f"{path}: {fault}" for fault in faults]


def read_schedules(path: Path, kinds: Mapping[str, Kind] | None) -> dict[str, Rule]:
    """Return what each schedule of the file is to do, by name. Raises: ConfigError; FaultyFile.

    Shape: without kinds neither the kind of a job nor its payload is checked.
    """
    found, wrong = _schedules(path), list[str]()
    rules: dict[str, Rule] = {}
    for name, table in found.items():
        try:
            rules[name] = _rule(name, table, kinds)
        except ValidationError as error:
            wrong += [f"{name}: {where}: {text}" if where else f"{name}: {text}" for where, text in _told(error)]
    if wrong:
        raise FaultyFile(path, wrong)
    return rules


def _schedules(path: Path) -> dict[str, Json]:
    document = _document(path)
    if unknown := sorted(document.keys() - {"schedules"}):
        raise FaultyFile(path, [f"{name}: Unknown; a schedule is a table [schedules.NAME]." for name in unknown])
    # An empty file is more often one that was lost on its way than one that means to remove all.
    if not isinstance(document.get("schedules"), dict):
        raise FaultyFile(path, ["There is no table [schedules]; alone it says that there are no schedules."])
    schedules: dict[str, Json] = document["schedules"]
    return schedules


def _document(path: Path) -> dict[str, Json]:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ConfigError(f"{path} is longer than {MOST_BYTES} bytes")
        return tomllib.loads(_without_long_keys(raw.decode()))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and TOMLDecodeError among them, which say where.
        raise ConfigError(f"{path} is not TOML in UTF-8: {error}") from None


def _without_long_keys(text: str) -> str:
    """Return the text. Raises: ValueError, if a key in it has too many parts."""
    for found in _LONG_KEY.finditer(text):
        if found["key"]:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"a key has more than {MOST_KEY_PARTS} parts (at line {line})")
    return text


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    return faults(error.normalized_messages())  # type: ignore[no-untyped-call]


# One schedule ----------------------------------------------------------------------------------------------------


def _number(least: int, most: int, **options: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(least, most), **options)


def _named(**options: Any) -> fields.String:
    return fields.String(validate=Pattern(NAME_PATTERN, BAD_NAME), **options)


def _each_once(tags: list[str]) -> None:
    if again := {place: ["Is given twice."] for place, each in enumerate(tags) if each in tags[:place]}:
        raise ValidationError(again)


class _Job(PayloadSchema):
    """What a schedule enqueues."""

    class Meta:
        unknown = RAISE

    kind = _named(required=True)
    payload = fields.Dict(required=True)
    queue = _named(load_default=DEFAULT_QUEUE)
    priority = _number(MIN_PRIORITY, MAX_PRIORITY, load_default=0)
    max_attempts = _number(1, MAX_MAX_ATTEMPTS, load_default=DEFAULT_MAX_ATTEMPTS)
    timeout_seconds = _number(1, MAX_TIMEOUT_SECONDS)
    tags = fields.List(
        fields.String(validate=Pattern(TAG_PATTERN, BAD_TAG)),
        validate=[validate.Length(max=MAX_TAGS), _each_once],
    )


class _Schedule(PayloadSchema):
    """A schedule of the file."""

    class Meta:
        unknown = RAISE

    job = fields.Nested(_Job, required=True)
    cron = fields.String(validate=validate.Length(min=1, max=MAX_CRON))
    every_seconds = _number(1, MAX_EVERY_SECONDS)
    time_zone = fields.String(load_default="UTC", validate=validate.Length(min=1, max=MAX_ZONE))
    overlap = fields.Enum(Overlap, by_value=True, load_default=Overlap.ALLOW)
    missed = fields.Enum(Missed, by_value=True, load_default=Missed.LAST)
    missed_max = _number(1, MAX_MISSED)
    missed_within_seconds = _number(1, MAX_MISSED_WITHIN_SECONDS)
    jitter_seconds = _number(0, MAX_JITTER_SECONDS, load_default=0)


_SCHEDULE = _Schedule()
_TIMETABLE = ("cron", "every_seconds", "time_zone")
_OF_ALL = {"missed_max": DEFAULT_MISSED_MAX, "missed_within_seconds": DEFAULT_MISSED_WITHIN_SECONDS}


def _rule(name: str, table: Json, kinds: Mapping[str, Kind] | None) -> Rule:
    """Return what the schedule does. Raises: ValidationError, which names every fault."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValidationError(BAD_NAME)
    if name in TAKEN_NAMES:
        raise ValidationError(f"A schedule cannot be called {name}.")
    if not isinstance(table, dict):
        raise ValidationError("Must be a table.")
    given = _as_json(table)
    messages, asked = _checked(given)
    messages |= {field: [why] for field, why in ELSEWHERE.items() if field in given}
    _add(messages, _faults_of_job(given.get("job"), kinds))
    if not messages.keys() & {*_TIMETABLE}:
        messages |= _faults_of_timetable(asked)
    if asked.get("missed") is not Missed.ALL:
        messages |= {field: ["Only where missed is all."] for field in _OF_ALL if field in given}
    if messages:
        raise ValidationError(messages)
    return _made(asked, given["job"]["payload"])


def _checked(given: dict[str, Json]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return marshmallow's messages, and what of it can be read."""
    try:
        return {}, _SCHEDULE.load(given)
    except ValidationError as error:
        readable: Any = error.valid_data or {}
        return dict(error.normalized_messages()), dict(readable)  # type: ignore[no-untyped-call]


def _add(messages: dict[str, Any], of_job: dict[str, Any]) -> None:
    """Add what is wrong with the job, in place of what marshmallow says of the same fields."""
    if of_job:
        others = messages.get("job")
        messages["job"] = {**(others if isinstance(others, dict) else {}), **of_job}


def _table_of(asked: dict[str, Any]) -> Timetable:
    return timetable(
        cron=asked.get("cron"), every_seconds=asked.get("every_seconds"), time_zone=asked.get("time_zone", "UTC")
    )


def _faults_of_timetable(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        _table_of(asked)
    except InvalidSchedule as error:
        return {error.field: [str(error)]}
    return {}


def _faults_of_job(job: Json, kinds: Mapping[str, Kind] | None) -> dict[str, Any]:
    if not isinstance(job, dict):
        return {}
    found: dict[str, Any] = {name: [OF_A_TICK] for name in NOT_OF_A_SCHEDULE if name in job}
    kind, payload = job.get("kind"), job.get("payload")
    if kinds is not None and isinstance(kind, str) and kind not in kinds:
        # Only a well-formed name is quoted.
        shown = f"kind {kind!r}" if re.fullmatch(NAME_PATTERN, kind) else "such kind"
        found["kind"] = [f"There is no {shown} here. Known: {', '.join(kinds) or 'none'}."]
    if isinstance(payload, dict) and (wrong := _faults_of_payload(payload, (kinds or {}).get(str(kind)))):
        found["payload"] = wrong
    return found


def _faults_of_payload(payload: dict[str, Json], kind: Kind | None) -> Json:
    size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_PAYLOAD_BYTES:
        return [f"Is {size} bytes long as JSON; it may be {MAX_PAYLOAD_BYTES}."]
    if kind is None:
        return None
    try:
        kind.load(payload)
    except ValidationError as error:
        messages: Json = error.normalized_messages()  # type: ignore[no-untyped-call]
        secrets = secret_fields(kind.schema)
        # This goes into the log of a release, and validators may quote what they refuse.
        return messages if secrets is None else without_in(messages, secret_texts(payload, secrets), in_keys=False)
    return None


def _made(asked: dict[str, Any], payload: dict[str, Json]) -> Rule:
    cron = _table_of(asked).cron
    # As the API keeps it: the payload as it was given, and all that has a default.
    job = {name: value for name, value in {**asked["job"], "payload": payload}.items() if value not in (None, [])}
    bounds = {name: asked.get(name, default) for name, default in _OF_ALL.items()}
    return Rule(
        job=job,
        cron=None if cron is None else cron.text,
        every_seconds=asked.get("every_seconds"),
        time_zone=asked["time_zone"],
        overlap=asked["overlap"],
        missed=asked["missed"],
        jitter_seconds=asked["jitter_seconds"],
        **(bounds if asked["missed"] is Missed.ALL else {}),
    )


# TOML as JSON ----------------------------------------------------------------------------------------------------


def _as_json(table: dict[str, Json]) -> dict[str, Json]:
    """Return the table as the API reads the same in JSON. Raises: ValidationError, for what JSON does not have."""
    wrong: dict[str, list[str]] = {}

    def refuse(path: str, why: str) -> None:
        wrong[path] = [why]

    made: dict[str, Json] = _value(table, "", refuse, MAX_DEPTH)
    if wrong:
        raise ValidationError(wrong)
    return made


def _value(value: Json, path: str, refuse: Callable[[str, str], None], levels: int) -> Json:
    if isinstance(value, dict | list):
        if not levels:
            refuse(path, f"Is nested more than {MAX_DEPTH} levels deep.")
            return None
        if isinstance(value, list):
            return [_value(each, f"{path}[{place}]", refuse, levels - 1) for place, each in enumerate(value)]
        below = f"{path}." if path else ""
        return {name: _value(each, f"{below}{name}", refuse, levels - 1) for name, each in value.items()}
    if why := _why_no_json(value):
        refuse(path, why)
    # As in JSON, which has one kind of number: 3.0 is the integer 3.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < MOST_EXACT else value


def _why_no_json(value: Json) -> str | None:
    if isinstance(value, str | bool):
        return None
    if isinstance(value, int):
        return None if LEAST_INTEGER <= value <= MOST_INTEGER else "Has more than 64 bits."
    if isinstance(value, float):
        return None if math.isfinite(value) else "Is not a number that JSON has."
    return "Is a date or a time, which JSON does not have: write it as text, in quotes."
