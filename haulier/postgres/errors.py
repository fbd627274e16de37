"""What an error of the database means: not now, never for this row, or never for this statement.

Claims, settles, operations, schedules and the API all decide by these classes, which follow from the SQLSTATE:

- *Not now*: `DatabaseUnavailable`. Wait and try again; never count it as a failure. If the server has answered and
  continues working (a deadlock, a lock, a full disk, a timeout), it is `RefusedForNow`: nothing was done, and another
  row may get through. Otherwise it is not known what was done.
- *Never for this row*: `RowRefused`. A constraint or somebody's trigger refuses it: leave it out, continue with others.
- *Never for this statement*: `StatementRefused`. A right, a table or a column is missing.

A trigger may raise any SQLSTATE for one row, also one of an outage (a dblink that cannot connect raises 08001).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import psycopg2
from psycopg2 import errors

from haulier.domain.errors import (
    DatabaseUnavailable,
    HaulierError,
    Locked,
    ReadOnly,
    RefusedForNow,
    RowRefused,
    StatementRefused,
    TooManyConnections,
    reason,
)
from haulier.domain.text import cut

# A trigger's message may be of any length.
MOST_CHARACTERS = 1000
# For callers that have to distinguish errors, by the names of PostgreSQL's conditions.
sqlstate = errors
PostgresError = psycopg2.Error

# The classes of SQLSTATE that pass by themselves: connection, authorization, rollback, resources, state, operator,
# system, foreign data. `may_pass` of schema.sql has this list too.
PASSING_CLASSES = ("08", "28", "40", "53", "55", "57", "58", "HV")
READ_ONLY = "25006"
# The transaction was ended for its age (25P03, 25P04), or a pool has lost a prepared statement (26000).
_PASSING_STATES = (READ_ONLY, "25P03", "25P04", "26000")
# After these the server continues working. After others of an outage it shuts down, starts, or is read-only.
_ANSWERED_CLASSES = ("40", "53", "55", "58")
# What values, constraints and functions raise. 54000: the row is too large for an index.
ROW_CLASSES = ("22", "23", "27", "44", "54", "P0")
# What PostgreSQL says of its limits, and PgBouncer of max_client_conn.
_TOO_MANY = ("too many", "connection slots", "no more connections allowed")


class _Translation:
    """What `translated` returns; it has no state, so that one instance serves all calls."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and (known := ours(error)):
            raise known from error


_translation = _Translation()


def translated() -> AbstractContextManager[None]:
    """Turn psycopg2's errors into ours.

    Not by @contextmanager, which makes ten Python calls of three: a lone job waits for them.
    """
    return _translation


def ours(error: BaseException) -> HaulierError | None:
    """Return the error of ours for one of psycopg2's; None for any other error."""
    if isinstance(error, psycopg2.Error):
        return _not_now(error) if _passes(error) else _refused(error)
    # Text that cannot be sent as UTF-8.
    return StatementRefused(str(error)) if isinstance(error, UnicodeError) else None


def lacks_partition(error: BaseException) -> bool:
    """Return whether a partitioned table has no partition for a row: somebody has to make one, and the row is good."""
    # It has the SQLSTATE of a failed CHECK, but names no constraint. A trigger's own table does not count.
    return (
        isinstance(error, errors.CheckViolation)
        and error.diag.constraint_name is None
        and error.diag.table_name is not None
        and not _is_raised_by_a_trigger(error)
    )


def spares_others(error: psycopg2.Error) -> bool:
    """Return whether other rows may get through: it is not an outage, or a trigger has raised it for one row."""
    if isinstance(error, errors.QueryCanceled):
        return False
    return not _passes(error) or _is_raised_by_a_trigger(error)


def _passes(error: psycopg2.Error) -> bool:
    code = error.pgcode
    if code is not None:
        return code[:2] in PASSING_CLASSES or code in _PASSING_STATES or lacks_partition(error)
    # A connection that breaks within a reply raises a bare DatabaseError.
    return (
        isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)) or type(error) is psycopg2.DatabaseError
    )


def _not_now(error: psycopg2.Error) -> DatabaseUnavailable:
    code = error.pgcode or ""
    if code == "55P03":
        return Locked()
    # The server itself is well if somebody's trigger has raised it, whatever it says.
    if _is_raised_by_a_trigger(error):
        return RefusedForNow()
    # psycopg2 gives no SQLSTATE (53300) for a connection that was refused.
    if code == "53300" or any(words in str(error) for words in _TOO_MANY):
        return TooManyConnections()
    if code == READ_ONLY:
        return ReadOnly()
    is_answered = code[:2] in _ANSWERED_CLASSES or code == "57014" or lacks_partition(error)
    return RefusedForNow() if is_answered else DatabaseUnavailable()


def _refused(error: psycopg2.Error) -> StatementRefused:
    kind = RowRefused if _is_about_the_row(error) else StatementRefused
    return kind(cut(_without_values(error), MOST_CHARACTERS), is_lasting=_is_lasting(error))


def _is_about_the_row(error: psycopg2.Error) -> bool:
    code = error.pgcode
    return code is not None and (code[:2] in ROW_CLASSES or _is_private(code) or _is_raised_by_a_trigger(error))


def _is_private(code: str) -> bool:
    """Return whether PostgreSQL itself does not use this SQLSTATE, so that a function of the owner's has made it up."""
    try:
        errors.lookup(code)
    except KeyError:
        return True
    return False


def _is_raised_by_a_trigger(error: psycopg2.Error) -> bool:
    """Return whether a function that is not Haulier's has raised the error."""
    # Translated servers name the language and the function too. Haulier's own functions have their schema's name there.
    lines = (error.diag.context or "").splitlines()
    return any("PL/" in line and "haulier." not in line for line in lines)


def _without_values(error: psycopg2.Error) -> str:
    """Return the error's message. It lacks the value that PostgreSQL quotes if it cannot convert or compute it."""
    code = error.pgcode or ""
    if code.startswith("22") and "RAISE" not in (error.diag.context or ""):
        return f"a value does not fit ({type(error).__name__}, SQLSTATE {code})"
    return reason(error)


def _is_lasting(error: psycopg2.Error) -> bool:
    """Return whether the values themselves are refused: by their type, or by a constraint that looks only at them."""
    # Raised in a trigger, which may have failed because of rows that are not ours, and that may change.
    if "PL/" in (error.diag.context or ""):
        return False
    if isinstance(error, (errors.CheckViolation, errors.NotNullViolation)):
        named = error.diag.constraint_name or error.diag.column_name
        return named is not None and error.diag.schema_name in ("haulier", None)
    return isinstance(error, psycopg2.DataError)
