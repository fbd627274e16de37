-- Idempotency keys --------------------------------------------------------------------------------------------

-- Written in the transaction that inserts the job; kept IDEMPOTENCY_DAYS, and longer while the job is live.
-- Each API key has its own key space, and callers without an API key share another. All are in this one column: a
-- client's key holds no space, so that the id of the API key and a space in front of it keep the key spaces apart.
CREATE TABLE IF NOT EXISTS haulier.idempotency (
    -- 'order-7', or 'hx3k9 order-7' from the API key hx3k9; in byte order, so that those of an API key are a range
    key         text        NOT NULL COLLATE "C",
    fingerprint bytea       NOT NULL,                       -- of the request, without its key
    job_id      uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    cell        smallint,                                   -- that has the job; null: this one

    CONSTRAINT idempotency_pkey PRIMARY KEY (key),
    CONSTRAINT key_from_1_to_288 CHECK (length(key) BETWEEN 1 AND 288),
    CONSTRAINT job_is_in_a_cell CHECK (cell BETWEEN 1 AND 255)
);

-- purge_idempotency: the oldest first
CREATE INDEX IF NOT EXISTS idempotency_oldest ON haulier.idempotency (created_at);
