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

-- The ticks that fired while a job of their schedule was live beside which none may fire. Jobs of the same statement come
-- after their ticks, and the schedule is locked: no other can have come since firing has looked for them.
CREATE TABLE chaos.fired_beside (
    schedule     text NOT NULL,
    scheduled_at timestamptz NOT NULL
);

CREATE FUNCTION chaos.note_fired_beside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.fired_beside (schedule, scheduled_at)
    SELECT new.schedule, new.scheduled_at
    FROM haulier.schedule
    WHERE name = new.schedule AND overlap <> 'allow'
        AND EXISTS (SELECT FROM haulier.job WHERE job.schedule = new.schedule);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_fired_beside AFTER INSERT ON haulier.tick
    FOR EACH ROW WHEN (new.outcome = 'fired')
    EXECUTE FUNCTION chaos.note_fired_beside();

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
CREATE TRIGGER be_moody BEFORE INSERT ON haulier.preview
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_moody();
CREATE TRIGGER be_moody BEFORE INSERT OR UPDATE ON haulier.operation
    FOR EACH STATEMENT EXECUTE FUNCTION chaos.be_moody();

-- What operators do is done to jobs of c.acted alone. Each write of such a job's row, and the transaction that wrote it.
CREATE TABLE chaos.written (
    place       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    tx          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    what        text        NOT NULL,           -- enqueue, copy, retry, change, cancel, work, end, gone
    job         jsonb       NOT NULL,           -- the row; of what is gone, as it was last
    is_moved    boolean     NOT NULL,           -- it may be in another queue than before
    came_early  boolean     NOT NULL,           -- that it came was not counted for good yet …
    ended_early boolean     NOT NULL            -- … nor, of what is gone, that it had ended
);

CREATE INDEX written_by_tx ON chaos.written (tx);

-- "gone" is what left the history: deleted or, with a "retry" in the same transaction, queued again.
CREATE FUNCTION chaos.note_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What came or ended since is counted once more.
    since CONSTANT timestamptz := coalesce(
        (SELECT through - interval '10 s' FROM haulier.counting), '-infinity'::timestamptz);
    job   jsonb;
    what  text;
BEGIN
    IF tg_op = 'DELETE' THEN
        job := to_jsonb(old);
        what := 'gone';
    ELSIF tg_table_name <> 'job' THEN
        job := to_jsonb(new);
        -- Of a job that a worker ended the history knows which.
        what := CASE WHEN new.status = 'cancelled' AND new.worker_id IS NULL THEN 'cancel' ELSE 'end' END;
    ELSIF tg_op = 'INSERT' THEN
        job := to_jsonb(new);
        what := CASE
            WHEN new.created_at < now() THEN 'retry'
            WHEN new.copy_of IS NOT NULL THEN 'copy'
            ELSE 'enqueue'
        END;
    ELSE
        job := to_jsonb(new);
        what := CASE
            WHEN old.worker_id IS NULL AND new.worker_id IS NULL THEN 'change'
            WHEN old.worker_id = new.worker_id AND old.claim = new.claim THEN 'cancel'
            ELSE 'work'
        END;
    END IF;
    INSERT INTO chaos.written (what, job, is_moved, came_early, ended_early)
    VALUES (
        what, job, what = 'retry' OR (tg_op = 'UPDATE' AND old.queue <> new.queue),
        (job ->> 'created_at')::timestamptz >= since,
        what = 'gone' AND (job ->> 'finished_at')::timestamptz >= since);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_written AFTER INSERT OR UPDATE ON haulier.job
    FOR EACH ROW WHEN (new.kind = 'c.acted')
    EXECUTE FUNCTION chaos.note_written();
CREATE TRIGGER note_written AFTER INSERT ON haulier.finished_job
    FOR EACH ROW WHEN (new.kind = 'c.acted')
    EXECUTE FUNCTION chaos.note_written();
CREATE TRIGGER note_gone AFTER DELETE ON haulier.finished_job
    FOR EACH ROW WHEN (old.kind = 'c.acted')
    EXECUTE FUNCTION chaos.note_written();

-- What was deleted, as it was last.
CREATE VIEW chaos.deleted AS
SELECT job, came_early
FROM chaos.written AS gone
WHERE what = 'gone' AND NOT EXISTS (
    SELECT FROM chaos.written AS again
    WHERE again.tx = gone.tx AND again.what = 'retry' AND again.job ->> 'id' = gone.job ->> 'id');

-- The transactions in which an operation says that it has done something.
CREATE TABLE chaos.chunk (
    tx           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    operation_id uuid NOT NULL
);

CREATE FUNCTION chaos.note_chunk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.chunk (operation_id) VALUES (new.id);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_chunk AFTER UPDATE ON haulier.operation
    FOR EACH ROW WHEN (new.done > old.done)
    EXECUTE FUNCTION chaos.note_chunk();

-- Which transactions a preview could see, at most.
CREATE TABLE chaos.preview (
    as_of timestamptz NOT NULL,
    seen  pg_snapshot NOT NULL DEFAULT pg_current_snapshot()
);

CREATE FUNCTION chaos.note_preview() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.preview (as_of) VALUES (new.as_of);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_preview AFTER INSERT ON haulier.preview
    FOR EACH ROW EXECUTE FUNCTION chaos.note_preview();

-- The transactions in which something went on record.
CREATE TABLE chaos.recorded (
    tx       xid8   NOT NULL DEFAULT pg_current_xact_id(),
    audit_id bigint NOT NULL
);

CREATE FUNCTION chaos.note_recorded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.recorded (audit_id) VALUES (new.id);
    RETURN NULL;
END
$$;

CREATE TRIGGER note_recorded AFTER INSERT ON haulier.audit
    FOR EACH ROW EXECUTE FUNCTION chaos.note_recorded();
