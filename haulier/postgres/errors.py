"""How psycopg2's errors become ours: some tell of an outage, the others of a statement that is refused."""

from __future__ import annotations

from contextlib import AbstractContextManager

import psycopg2
from psycopg2 import errors

from haulier.domain.errors import (
    DatabaseUnavailable,
    HaulierError,
    Locked,
    RefusedForNow,
    StatementRefused,
    TooManyConnections,
    reason,
)

# For callers that have to tell errors apart, by the names of PostgreSQL's conditions.
sqlstate = errors
PostgresError = psycopg2.Error


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
    if isinstance(error, (psycopg2.Error, UnicodeError)):
        return _ours(error)
    return None


def _ours(error: psycopg2.Error | UnicodeError) -> HaulierError:
    # A database without an encoding (SQL_ASCII) returns bytes that may be no text.
    if isinstance(error, UnicodeError):
        return StatementRefused(str(error))
    if not _is_outage(error):
        return StatementRefused(reason(error), is_lasting=_is_lasting(error))
    text = str(error)
    # psycopg2 gives no SQLSTATE (53300) for a connection that was refused.
    if isinstance(error, errors.TooManyConnections) or any(words in text for words in _TOO_MANY):
        return TooManyConnections()
    if isinstance(error, errors.LockNotAvailable):
        return Locked()
    return RefusedForNow() if _is_answered(error) else DatabaseUnavailable()


# What PostgreSQL says of its limits, and PgBouncer of max_client_conn.
_TOO_MANY = ("too many", "connection slots", "no more connections allowed")

# Errors of other classes of psycopg2 that also pass by themselves.
_PASSING = (errors.ReadOnlySqlTransaction, errors.IdleInTransactionSessionTimeout, errors.InvalidSqlStatementName)


def _is_outage(error: psycopg2.Error) -> bool:
    # A statement that exceeds one of the server's limits (class 54) will exceed it the next time too.
    if (error.pgcode or "").startswith("54"):
        return False
    if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError, *_PASSING)):
        return True
    # A connection that breaks within a reply raises a bare DatabaseError without a SQLSTATE.
    return type(error) is psycopg2.DatabaseError and error.pgcode is None


def _is_answered(error: psycopg2.Error) -> bool:
    """Tell whether the server has refused this statement alone, and takes others."""
    # Without those that say that the server shuts down, starts or is read-only: then it takes no statement.
    return (error.pgcode or "")[:2] in ("40", "53", "55", "58") or isinstance(error, errors.QueryCanceled)


def _is_lasting(error: psycopg2.Error) -> bool:
    """Tell whether the values themselves are refused: by their type, or by a constraint that looks at them alone."""
    # Raised in a trigger, which may have failed because of rows that are not ours, and that may change.
    if "PL/pgSQL" in (error.diag.context or ""):
        return False
    if isinstance(error, (errors.CheckViolation, errors.NotNullViolation)):
        # "no partition of relation found for row" has the SQLSTATE of a failed CHECK, and names neither.
        named = error.diag.constraint_name or error.diag.column_name
        return named is not None and error.diag.schema_name in ("haulier", None)
    return isinstance(error, psycopg2.DataError)
