-- Which release of the web processes and of the workers came when.

-- name: note_deployment
-- A row if this release is not the last one noted. While a new release is rolled out, an old worker may restart: its release
-- is not new if another live worker has it.
WITH forgotten AS (
    DELETE FROM haulier.deployment AS old
    WHERE EXISTS (
        SELECT
        FROM haulier.deployment
        WHERE process = old.process AND at > old.at AND at < now() - interval '31 days')
)
INSERT INTO haulier.deployment (process, release)
SELECT %(process)s, %(release)s
WHERE %(release)s IS DISTINCT FROM (
        SELECT release
        FROM haulier.deployment
        WHERE process = %(process)s
        ORDER BY at DESC
        LIMIT 1)
    AND NOT EXISTS (
        SELECT
        FROM haulier.worker
        WHERE %(process)s = 'worker' AND coalesce(release, version) = %(release)s AND id <> %(worker)s::uuid
            AND beat_at >= now() - lease)
ON CONFLICT DO NOTHING;

-- name: list_deployments
-- Processes that start at the same moment may each have noted the same. The first release of all replaced none.
SELECT process, release, at
FROM (
    SELECT process, release, at, lag(release) OVER (PARTITION BY process ORDER BY at) AS before
    FROM haulier.deployment
) AS noted
WHERE release <> before AND at > now() - interval '31 days'
ORDER BY at DESC
LIMIT %(limit)s;
