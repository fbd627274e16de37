-- The suite's own triggers and tables in the database under test. Nothing of the service reads them.

CREATE SCHEMA chaos;

-- What came between two runs of a job: each way back from `running` to waiting.
CREATE TABLE chaos.went_back (
    job_id    uuid NOT NULL,
    attempt   integer NOT NULL,
    claim     uuid NOT NULL,
    worker_id uuid NOT NULL,
    how       text NOT NULL,                    -- crash, fail, snooze, release
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION chaos.note_way_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.went_back (job_id, attempt, claim, worker_id, how)
    VALUES (old.id, old.attempt, old.claim, old.worker_id,
        CASE
            WHEN new.crashes > old.crashes THEN 'crash'
            WHEN new.snoozes > old.snoozes THEN 'snooze'
            WHEN new.attempts < old.attempts THEN 'release'
            ELSE 'fail'
        END);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_way_back AFTER UPDATE ON haulier.job
    FOR EACH ROW WHEN (old.status = 'running' AND new.status <> 'running')
    EXECUTE FUNCTION chaos.note_way_back();

-- The jobs that were claimed although their queue had been paused for a second. By the times of both transactions: a
-- claim that began before may see in here what it could not see itself.
CREATE TABLE chaos.claimed_while_paused (
    job_id uuid NOT NULL,
    claim  uuid NOT NULL
);

CREATE FUNCTION chaos.note_claim_while_paused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.claimed_while_paused (job_id, claim)
    SELECT new.id, new.claim
    FROM haulier.pause
    WHERE queue = new.queue AND since < now() - interval '1 s' AND (until IS NULL OR until > now());
    RETURN NULL;
END
$$;

CREATE TRIGGER note_claim_while_paused AFTER UPDATE ON haulier.job
    FOR EACH ROW WHEN (old.status <> 'running' AND new.status = 'running')
    EXECUTE FUNCTION chaos.note_claim_while_paused();

-- The workers that there have been; how the row of each went.
CREATE TABLE chaos.worker (
    id        uuid PRIMARY KEY,
    pid       integer NOT NULL,
    began_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at   timestamptz,                      -- the last one
    gone_at   timestamptz,
    is_buried boolean                           -- its lease had run out; else it left by itself
);

CREATE FUNCTION chaos.note_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO chaos.worker (id, pid) VALUES (new.id, new.pid);
    ELSE
        UPDATE chaos.worker
        SET beat_at = old.beat_at, gone_at = clock_timestamp(), is_buried = old.beat_at < now() - old.lease
        WHERE id = old.id;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_worker AFTER INSERT OR DELETE ON haulier.worker
    FOR EACH ROW EXECUTE FUNCTION chaos.note_worker();

-- The errors of a server in trouble: while there is a row, statements that write fail like this.
CREATE TABLE chaos.mood (
    sqlstate    text NOT NULL,
    message     text NOT NULL,
    probability double precision NOT NULL
);

CREATE FUNCTION chaos.be_moody() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    present chaos.mood;
BEGIN
    SELECT * INTO present FROM chaos.mood WHERE random() < probability LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = present.sqlstate, MESSAGE = present.message;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER be_moody BEFORE INSERT OR UPDATE OR DELETE ON haulier.job
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_moody();
CREATE TRIGGER be_moody BEFORE INSERT OR UPDATE OR DELETE ON haulier.worker
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_moody();
CREATE TRIGGER be_moody BEFORE INSERT ON haulier.finished_job
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_moody();
