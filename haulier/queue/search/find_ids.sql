-- The jobs that an operation acts on: their ids, and how many of each kind. With the looks of list_jobs and count_jobs.

-- part: looked_for
finished AS MATERIALIZED (
    SELECT * FROM <<finished_looked_at>>
), page AS MATERIALIZED (
    SELECT created_at, id FROM finished WHERE place = %(most_rows)s
), waiting AS MATERIALIZED (
    SELECT * FROM <<waiting_looked_at>>
), ended AS MATERIALIZED (
    <<last_looked_at>>
), matching AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT created_at, id, kind, finished_at, bytes FROM finished WHERE is_wanted
        UNION ALL
        SELECT created_at, id, kind, finished_at, bytes FROM waiting WHERE is_wanted
        UNION ALL
        SELECT created_at, id, kind, NULL, 0 FROM <<running_jobs>> WHERE <<within>> AND <<running_and_wanted>>
    ) AS candidate
    WHERE <<not_beyond_the_end>>
)

-- part: found_with_tags
<<all_tagged>>, matching AS MATERIALIZED (
    SELECT created_at, id, kind, finished_at, <<stored_bytes>> AS bytes
    FROM tagged
    WHERE <<tagged_and_wanted>>
)

-- part: oldest_last
-- The first of them at least, and further ones up to some bytes; one row without a job if there is none.
FROM (SELECT) AS always
LEFT JOIN (
    SELECT *
    FROM (
        SELECT *, row_number() OVER newest AS number, sum(bytes) OVER newest - bytes AS bytes_before
        FROM matching
        WINDOW newest AS (ORDER BY created_at DESC, id DESC)
    ) AS numbered
    WHERE number <= %(limit)s AND bytes_before < %(most_bytes)s
) AS fitting ON true
ORDER BY number

-- part: kinds_of_them
-- One row without a kind if there is no job.
FROM (SELECT) AS always
LEFT JOIN (SELECT kind, count(*) AS jobs FROM matching GROUP BY kind) AS by_kind ON true

-- name: find_by_index
-- Goes before find_jobs in the same message, if only live jobs are wanted. No statistics know of those that came within the
-- last minute: for each look the planner would read and sort all of them. Finished ones it may well find by when they ended.
-- Without JIT: what it takes the sort of the few jobs at the end to cost would make the server compile the statement.
SET LOCAL enable_sort = off; SET LOCAL jit = off;

-- name: find_jobs
WITH <<looked_for>>
SELECT fitting.id, fitting.created_at, fitting.finished_at, fitting.bytes, (SELECT count(*) FROM matching) AS matched,
    (SELECT created_at FROM ended) AS ended_at, (SELECT id FROM ended) AS ended_id
<<oldest_last>>;

-- name: find_tagged
WITH <<found_with_tags>>
SELECT fitting.id, fitting.created_at, fitting.finished_at, fitting.bytes, (SELECT count(*) FROM matching) AS matched,
    (SELECT is_common FROM asked) AS is_common
<<oldest_last>>;

-- name: count_by_kind
WITH <<looked_for>>
SELECT by_kind.*, (SELECT created_at FROM ended) AS ended_at, (SELECT id FROM ended) AS ended_id
<<kinds_of_them>>;

-- name: count_tagged_by_kind
WITH <<found_with_tags>>
SELECT by_kind.*, (SELECT is_common FROM asked) AS is_common
<<kinds_of_them>>;
