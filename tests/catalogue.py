"""What a schema is, as the catalogue has it: to hold one database against another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Each row is a sort, a name and the rest. Of the history's partitions, which begin with the year, there are none: they
# depend on the day.
SHAPE = """
    WITH own AS (
        SELECT *, oid::regclass::text AS name
        FROM pg_class
        WHERE relnamespace = 'haulier'::regnamespace AND relname NOT LIKE 'finished\\_job\\_2%'
    )
    SELECT 'schema' AS sort, nspname::text AS name,
        concat_ws(' | ', nspowner::regrole, nspacl::text, obj_description(oid, 'pg_namespace')) AS is
    FROM pg_namespace WHERE nspname = 'haulier'
    UNION ALL
    SELECT 'version', 'haulier.schema_version', concat_ws(' ', version, compatible_from) FROM haulier.schema_version
    UNION ALL
    SELECT 'relation', name, concat_ws(' | ', relkind, relowner::regrole, relacl::text, reloptions::text,
        relpersistence, relreplident, relrowsecurity, relforcerowsecurity, reltablespace, relam,
        obj_description(oid, 'pg_class'))
    FROM own
    UNION ALL
    SELECT 'column', name || '.' || attname, concat_ws(' | ', attnum, format_type(atttypid, atttypmod),
        CASE WHEN attnotnull THEN 'not null' END, pg_get_expr(adbin, adrelid), attgenerated, attidentity, attstorage,
        attcompression, attstattarget, attcollation, attacl::text, col_description(attrelid, attnum))
    FROM own
    JOIN pg_attribute ON attrelid = own.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint', name || '.' || conname, concat_ws(' | ', contype, pg_get_constraintdef(pg_constraint.oid),
        CASE WHEN convalidated THEN 'validated' END, condeferrable, connoinherit, conislocal, coninhcount)
    FROM own
    JOIN pg_constraint ON conrelid = own.oid
    UNION ALL
    SELECT 'index', indexrelid::regclass::text, concat_ws(' | ', pg_get_indexdef(indexrelid),
        CASE WHEN indisvalid AND indisready THEN 'valid' END, indisclustered, indisreplident)
    FROM own
    JOIN pg_index ON indrelid = own.oid
    UNION ALL
    SELECT 'trigger', name || '.' || tgname, concat_ws(' | ', pg_get_triggerdef(pg_trigger.oid), tgenabled)
    FROM own
    JOIN pg_trigger ON tgrelid = own.oid
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 'view', name, pg_get_viewdef(oid) FROM own WHERE relkind = 'v'
    UNION ALL
    SELECT 'sequence', name, (to_jsonb(pg_sequence) - 'seqrelid')::text FROM own JOIN pg_sequence ON seqrelid = own.oid
    UNION ALL
    SELECT 'function', oid::regprocedure::text, concat_ws(' | ', pg_get_functiondef(oid), proowner::regrole,
        proacl::text, obj_description(oid, 'pg_proc'))
    FROM pg_proc
    WHERE pronamespace = 'haulier'::regnamespace
    UNION ALL
    SELECT 'policy', name || '.' || polname, '' FROM own JOIN pg_policy ON polrelid = own.oid
    UNION ALL
    SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
    WHERE stxnamespace = 'haulier'::regnamespace
    ORDER BY 1, 2
"""


def shape(sql: Callable[..., list[tuple[Any, ...]]]) -> dict[tuple[str, str], str]:
    """Return what the schema consists of, the partitions of its history left out. (sort, name) to all else."""
    found = sql(SHAPE)
    assert {sort for sort, _, _ in found} >= {
        "relation",
        "column",
        "constraint",
        "index",
        "trigger",
        "view",
        "function",
    }
    return {(sort, name): rest for sort, name, rest in found}
