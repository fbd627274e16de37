"""What clients send to pause a queue, quiet a worker, mute an error group or enqueue a batch."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from haulier.requests.fields import Flag, about, moment


class PauseQueue(Schema):
    """Until when to pause a queue."""

    class Meta:
        unknown = RAISE

    until = moment("Null: until it is resumed.", load_default=None, allow_none=True)


class QuietWorker(Schema):
    """Whether a worker is to be quiet."""

    class Meta:
        unknown = RAISE

    quiet = Flag(required=True, metadata=about("True: it claims no more; false: it claims again."))


class MuteErrors(Schema):
    """Until when to mute."""

    class Meta:
        unknown = RAISE

    muted_until = moment("Null: no longer.", required=True, allow_none=True)


class BatchOptions(Schema):
    """How a batch is taken."""

    atomic = fields.String(
        load_default="true",
        validate=validate.OneOf(["true", "false"]),
        metadata=about("`true`: all or nothing. `false`: each job by itself."),
    )
