"""A ledger that triggers keep: each row of a job that was written or deleted, and by which transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from tests.conftest import Sql

MAKE = """
    CREATE TABLE public.touched (
        place bigint GENERATED ALWAYS AS IDENTITY, tx xid8 DEFAULT pg_current_xact_id(), id uuid, operation uuid,
        done bigint);
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF TG_TABLE_NAME = 'operation' THEN
            INSERT INTO public.touched (operation, done) VALUES (NEW.id, NEW.done - OLD.done);
        ELSE
            INSERT INTO public.touched (id) VALUES (CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END);
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON haulier.job FOR EACH ROW EXECUTE FUNCTION public.touch();
    CREATE TRIGGER touch AFTER INSERT OR UPDATE OR DELETE ON haulier.finished_job
        FOR EACH ROW EXECUTE FUNCTION public.touch();
    CREATE TRIGGER touch AFTER UPDATE ON haulier.operation FOR EACH ROW EXECUTE FUNCTION public.touch();
"""
DROP = """
    DROP TRIGGER touch ON haulier.job;
    DROP TRIGGER touch ON haulier.finished_job;
    DROP TRIGGER touch ON haulier.operation;
    DROP FUNCTION public.touch();
    DROP TABLE public.touched;
"""
# The transactions in which the operation acted; in each, how many jobs it says that it did it to.
CHUNKS = "SELECT tx::text, sum(done)::integer FROM public.touched WHERE operation = %s GROUP BY tx HAVING sum(done) > 0"
IN_CHUNKS = """
    SELECT tx::text, array_agg(DISTINCT id)
    FROM public.touched
    WHERE id IS NOT NULL AND tx IN (SELECT tx FROM public.touched WHERE operation = %s AND done > 0)
    GROUP BY tx
"""
# Of each job the last entry that was committed by others before the operation acted on it.
BEFORE = """
    SELECT id, max(place)
    FROM public.touched AS entry
    WHERE id IS NOT NULL AND tx NOT IN (SELECT tx FROM public.touched WHERE operation = %(operation)s AND done > 0)
        AND place < (
            SELECT min(place) FROM public.touched
            WHERE id = entry.id AND tx IN (SELECT tx FROM public.touched WHERE operation = %(operation)s AND done > 0))
    GROUP BY id
"""


class Touched:
    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def by(self, operation: UUID) -> list[UUID]:
        """Return the jobs that an operation acted on, one entry for each time; its counts say the same."""
        told, seen = dict(self._sql(CHUNKS, operation)), dict(self._sql(IN_CHUNKS, operation))
        assert {tx: len(ids) for tx, ids in seen.items()} == told
        return [each for ids in seen.values() for each in ids]

    def twice(self, operation: UUID) -> list[UUID]:
        """Return those that it acted on more than once."""
        return [each for each, times in Counter(self.by(operation)).items() if times > 1]

    def last(self) -> dict[UUID, int]:
        """Return the place of the last entry of each job."""
        return dict(self._sql("SELECT id, max(place) FROM public.touched WHERE id IS NOT NULL GROUP BY id"))

    def before(self, operation: UUID) -> dict[UUID, int]:
        """Return the place of the last entry of each job before the operation acted on it."""
        return dict(self._sql(BEFORE.replace("%(operation)s", f"'{operation}'")))


@contextmanager
def touching(sql: Sql) -> Iterator[Touched]:
    """Keep the ledger for the block."""
    sql(MAKE)
    try:
        yield Touched(sql)
    finally:
        sql(DROP)
