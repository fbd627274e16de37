"""What clients send to enqueue or change a job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from haulier.domain.job import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    MAX_DELAY_SECONDS,
    MAX_MAX_ATTEMPTS,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MIN_PRIORITY,
    NAME_PATTERN,
    Json,
    NewJob,
)
from haulier.kinds import Kind, PayloadSchema
from haulier.kinds.sdk.payload import Pattern
from haulier.kinds.sdk.secret_fields import secret_fields, secret_texts, without_in
from haulier.requests.fields import (
    ANY_FIELDS,
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    IdempotencyKey,
    Number,
    Tags,
    about,
    moment,
    name,
    whole,
)
from haulier.requests.invalid import invalid, load, messages_of


def _max_attempts(**options: Any) -> fields.Integer:
    return whole(1, MAX_MAX_ATTEMPTS, "Number of failed attempts after which the job fails permanently.", **options)


def _priority(**options: Any) -> fields.Integer:
    return whole(MIN_PRIORITY, MAX_PRIORITY, "Jobs with a higher priority run first.", **options)


def _queue(**options: Any) -> fields.String:
    return name(metadata=about("Queue of the job."), **options)


class JobSettings(PayloadSchema):
    """The fields that a new job and a change of one have in common; null counts as absent."""

    class Meta:
        unknown = RAISE
        # Each application makes a class for each kind; marshmallow's registry would keep them all.
        register = False

    run_at = moment("Earliest start. A past time counts as now. Cannot be combined with `delay_seconds`.")
    delay_seconds = Number(
        validate=validate.Range(0, MAX_DELAY_SECONDS),
        metadata=about("Seconds from now to the earliest start. Cannot be combined with `run_at`."),
    )
    timeout_seconds = whole(
        1,
        MAX_TIMEOUT_SECONDS,
        "Time limit of one attempt, in seconds. Absent: the kind's default. A timeout counts as a failed attempt.",
    )
    tags = Tags(metadata=about("Labels for finding jobs, without duplicates.", uniqueItems=True))


class JobOptions(JobSettings):
    """The fields of every request for a job, whatever its kind."""

    class Meta(JobSettings.Meta):
        pass

    max_attempts = _max_attempts(load_default=DEFAULT_MAX_ATTEMPTS)
    idempotency_key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("Same as the header Idempotency-Key, which takes precedence."),
    )
    queue = _queue(load_default=DEFAULT_QUEUE)
    priority = _priority(load_default=0)


class IdempotencyHeader(Schema):
    """The header that makes a POST safe to repeat."""

    idempotency_key = IdempotencyKey(
        data_key="Idempotency-Key",
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about(
            "1 to 255 visible ASCII characters, such as `order-4711-receipt`. Repeating a request with the same key"
            " returns the job that the first request created.",
            pattern=r'^(?!""$)[!-~]{1,255}$',
        ),
    )


class JobChanges(JobSettings):
    """Changes of a job; absent fields stay as they are."""

    class Meta(JobSettings.Meta):
        pass

    max_attempts = _max_attempts()
    queue = _queue()
    priority = _priority()
    payload = fields.Dict(
        metadata=about(
            "Replaces the whole payload. Send a secret field back as `•••` to keep its value.",
            **ANY_FIELDS,
        )
    )


_CHANGES = JobChanges()


def read_changes(data: Json) -> dict[str, Any]:
    """Return the changes of a request. Raises: Invalid."""
    changes = load(_CHANGES, data)
    try:
        _check_one_time(changes)
    except ValidationError as error:
        raise invalid(error) from None
    return changes


def _check_one_time(settings: Mapping[str, Any]) -> None:
    # Checked here and not in a hook: a schema without hooks loads in a third of the time.
    if settings.get("delay_seconds") is not None and "run_at" in settings:
        raise ValidationError({"delay_seconds": ["Give run_at or delay_seconds, not both."]})


class _OtherJob(JobOptions):
    """A job of a kind that is not known here, so that its payload is not checked."""

    class Meta(JobOptions.Meta):
        pass

    payload = fields.Dict(required=True)


def create_job_schema(kind: Kind) -> Schema:
    """Return the schema of a request for a job of this kind."""
    words = "".join(word.capitalize() for word in re.split(r"[_.-]", kind.name))
    own = {
        "kind": fields.String(required=True, validate=validate.Equal(kind.name)),
        "payload": fields.Nested(kind.schema, required=True),
        "Meta": type("Meta", (JobOptions.Meta,), {}),
    }
    made: Schema = type(f"Create{words}Job", (JobOptions,), own)()
    return made


class Unknown(validate.Validator):
    """Refuses a kind as unknown, and lists the known kinds."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = ", ".join(known) or "none"

    def __call__(self, value: str) -> NoReturn:
        """Raise: ValidationError."""
        # Only a well-formed name is quoted: anything else may be a mebibyte long.
        shown = f"kind {value!r}" if re.fullmatch(NAME_PATTERN, value) else "such kind"
        raise ValidationError(f"There is no {shown} here. Known kinds: {self.known}.")


class CreateJobRequest:
    """A request for a job, checked by the schema of its kind. If kinds is None, every kind is accepted unchecked."""

    def __init__(self, kinds: Mapping[str, Kind] | None) -> None:
        self.by_kind = {known: create_job_schema(kind) for known, kind in (kinds or {}).items()}
        # If the kind is unknown, the other fields are still checked, so that one answer names every fault.
        kind = name(required=True) if kinds is None else fields.String(required=True, validate=Unknown(kinds))
        self._fallback: Schema = type("CreateOtherJob", (_OtherJob,), {"kind": kind})()

    def load(self, data: Json) -> NewJob:
        """Return the NewJob. Raises: Invalid."""
        try:
            return self.read(data)
        except ValidationError as error:
            raise invalid(error) from None

    def read(self, data: Json) -> NewJob:
        """Return the NewJob. Raises: ValidationError, without the secrets of the payload."""
        if not isinstance(data, dict):
            raise ValidationError("Must be a JSON object.")
        kind = data.get("kind")
        schema = self.by_kind.get(kind, self._fallback) if isinstance(kind, str) else self._fallback
        try:
            loaded: dict[str, Any] = schema.load(data)
        except ValidationError as error:
            raise ValidationError(_without_secrets(schema, data, messages_of(error))) from None
        _check_one_time(loaded)
        delay = loaded.pop("delay_seconds", None)
        # The payload is stored as it was sent: clients read back what they sent, and a run applies the defaults again.
        parsed, loaded["payload"] = loaded["payload"], data["payload"]
        return NewJob(**loaded, parsed_payload=parsed, delay=timedelta(seconds=delay) if delay else None)


def _without_secrets(schema: Schema, data: dict[str, Json], messages: Json) -> Json:
    """Return the messages of a refused request without the secrets of its payload, which validators may quote."""
    secrets = secret_fields(schema)
    # Not in the keys: those are the names of fields.
    return messages if secrets is None else without_in(messages, secret_texts(data, secrets), in_keys=False)
