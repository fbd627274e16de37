-- does: Adds API keys, their rates, and the record of what operators did; an idempotency key may be longer by a key's id.
-- locks idempotency: ACCESS EXCLUSIVE, for a moment

SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS haulier.api_key (
    id             text             NOT NULL,               -- as in hlr_<id>_<secret>
    name           text             NOT NULL,               -- for people
    hash           bytea            NOT NULL,               -- SHA-256 of the token, which is kept nowhere
    previous_hash  bytea,                                   -- of the token before the last rotation …
    previous_until timestamptz,                             -- … which is good until then
    scopes         text[]           NOT NULL,
    queues         text[],                                  -- null: every queue
    rate_limit     double precision,                        -- requests a second; null: no limit
    created_at     timestamptz      NOT NULL DEFAULT now(),
    expires_at     timestamptz,                             -- null: never
    last_used_at   timestamptz,                             -- to the minute
    revoked_at     timestamptz,

    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT id_is_of_letters_and_digits CHECK (id ~ '^[a-z0-9]{1,32}$'),
    CONSTRAINT name_from_1_to_100 CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT hash_is_a_sha_256 CHECK (length(hash) = 32 AND length(previous_hash) = 32),
    CONSTRAINT previous_hash_has_an_end CHECK ((previous_hash IS NULL) = (previous_until IS NULL)),
    CONSTRAINT scopes_are_known CHECK (
        cardinality(scopes) > 0 AND scopes <@ '{enqueue,read,operate,admin}'::text[]),
    CONSTRAINT queues_are_some CHECK (cardinality(queues) > 0),
    CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0 AND rate_limit <= 1000000)
);

CREATE TABLE IF NOT EXISTS haulier.rate_budget (
    key_id    text             NOT NULL,
    tokens    double precision NOT NULL,
    granted   integer          NOT NULL,                    -- to the last borrower
    filled_at timestamptz      NOT NULL DEFAULT now(),

    CONSTRAINT rate_budget_pkey PRIMARY KEY (key_id),
    CONSTRAINT budget_is_a_keys FOREIGN KEY (key_id) REFERENCES haulier.api_key ON DELETE CASCADE
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE IF NOT EXISTS haulier.audit (
    id     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text,                                            -- the id of an API key, 'env', 'cli'; null: nobody had to say
    action text        NOT NULL,
    job_id uuid,                                            -- the job that it was done to …
    key_id text,                                            -- … or the API key

    CONSTRAINT audit_pkey PRIMARY KEY (id),
    CONSTRAINT action_is_known CHECK (action IN ('cancel', 'retry', 'create_key', 'rotate_key', 'revoke_key')),
    CONSTRAINT done_to_a_job_or_a_key CHECK ((job_id IS NULL) <> (key_id IS NULL))
);

CREATE INDEX IF NOT EXISTS audit_oldest ON haulier.audit (at, id);

ALTER TABLE haulier.idempotency
    DROP CONSTRAINT IF EXISTS key_from_1_to_255,
    DROP CONSTRAINT IF EXISTS key_from_1_to_288,
    ADD CONSTRAINT key_from_1_to_288 CHECK (length(key) BETWEEN 1 AND 288) NOT VALID;
