-- API keys ----------------------------------------------------------------------------------------------------

-- Who may call the API. While there is no row and HAULIER_API_KEY is not set, it is open only to its own machine.
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
    moved_to       smallint,                                -- the cell that takes its new jobs; null: this one

    CONSTRAINT api_key_pkey PRIMARY KEY (id),
    CONSTRAINT id_is_of_letters_and_digits CHECK (id ~ '^[a-z0-9]{1,32}$'),
    CONSTRAINT name_from_1_to_100 CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT hash_is_a_sha_256 CHECK (length(hash) = 32 AND length(previous_hash) = 32),
    CONSTRAINT previous_hash_has_an_end CHECK ((previous_hash IS NULL) = (previous_until IS NULL)),
    CONSTRAINT scopes_are_known CHECK (
        cardinality(scopes) > 0 AND scopes <@ '{enqueue,read,operate,admin}'::text[]),
    CONSTRAINT queues_are_some CHECK (cardinality(queues) > 0),
    CONSTRAINT moved_to_a_cell CHECK (moved_to BETWEEN 1 AND 255),
    CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0 AND rate_limit <= 1000000),
    -- No program could read a key with a time outside these years.
    CONSTRAINT key_times_in_the_calendar CHECK (
        least(created_at, expires_at, previous_until, last_used_at, revoked_at) >= '1970-01-01+00'
        AND greatest(created_at, expires_at, previous_until, last_used_at, revoked_at) < '9999-12-31+00')
);

-- What is left of a key's rate. Each web process borrows from it, a second's worth at a time: a row for each request
-- would cost more than the request.
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
