"""The acts of operators that go into the audit."""

from __future__ import annotations

from enum import StrEnum


class Act(StrEnum):
    """What operators do that is on record."""

    CANCEL = "cancel"
    RETRY = "retry"
    CHANGE = "change"
    COPY = "copy"
    DELETE = "delete"
    CREATE_KEY = "create_key"
    ROTATE_KEY = "rotate_key"
    REVOKE_KEY = "revoke_key"
    ASSIGN_KEY = "assign_key"
    MUTE = "mute"
    UNMUTE = "unmute"
    QUIET = "quiet"
    UNQUIET = "unquiet"
    ACKNOWLEDGE = "acknowledge"
    SHOW_AGAIN = "show_again"
    PAUSE = "pause"
    RESUME = "resume"
    OPERATE = "operate"
    CANCEL_OPERATION = "cancel_operation"
    RESUME_OPERATION = "resume_operation"
    PUT_SCHEDULE = "put_schedule"
    DELETE_SCHEDULE = "delete_schedule"
    PAUSE_SCHEDULE = "pause_schedule"
    RESUME_SCHEDULE = "resume_schedule"
    RUN_SCHEDULE = "run_schedule"
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
