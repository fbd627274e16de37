-- Sessions ----------------------------------------------------------------------------------------------------

-- The sessions of the dashboard. A session ends with its API key, and with the secret that opened it.
CREATE TABLE IF NOT EXISTS haulier.session (
    hash       bytea       NOT NULL,                        -- SHA-256 of the token, which is kept nowhere
    key_id     text        NOT NULL,                        -- with which it was opened; `env`: HAULIER_API_KEY
    key_hash   bytea       NOT NULL,                        -- SHA-256 of the key's token: rotated, it ends the session
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),          -- to the minute
    expires_at timestamptz NOT NULL,

    CONSTRAINT session_pkey PRIMARY KEY (hash),
    CONSTRAINT session_hashes_are_sha_256 CHECK (length(hash) = 32 AND length(key_hash) = 32),
    CONSTRAINT session_key_id_from_1_to_100 CHECK (length(key_id) BETWEEN 1 AND 100),
    -- In hours: a day may have 23 or 25 of them.
    CONSTRAINT session_lasts_168_hours CHECK (expires_at <= created_at + interval '168 hours'),
    CONSTRAINT session_times_in_the_calendar CHECK (
        least(created_at, seen_at, expires_at) >= '1970-01-01+00'
        AND greatest(created_at, seen_at) < '9999-12-31+00')
);

CREATE INDEX IF NOT EXISTS session_key ON haulier.session (key_id);
CREATE INDEX IF NOT EXISTS session_expiry ON haulier.session (expires_at);
