"""What clients send to pause a queue, quiet a worker, mute an error group or enqueue a batch."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from haulier.requests.fields import Flag, about, moment, short_text


class PauseQueue(Schema):
    """Until when to pause a queue, and why."""

    class Meta:
        unknown = RAISE

    until = moment("When the pause ends. Null: when somebody resumes it.", load_default=None, allow_none=True)
    reason = short_text(200, "Why. Shown on the queue's page and in the audit log.", load_default=None, allow_none=True)


class QuietWorker(Schema):
    """Whether a worker is to be quiet."""

    class Meta:
        unknown = RAISE

    quiet = Flag(required=True, metadata=about("True: claim no more jobs. False: claim jobs again."))


class MuteErrors(Schema):
    """Until when to mute."""

    class Meta:
        unknown = RAISE

    muted_until = moment("When the mute ends. Null: unmute now.", required=True, allow_none=True)


class BatchOptions(Schema):
    """How a batch is taken."""

    atomic = fields.String(
        load_default="true",
        validate=validate.OneOf(["true", "false"]),
        metadata=about("`true`: store all jobs or none. `false`: store or refuse each job separately."),
    )
