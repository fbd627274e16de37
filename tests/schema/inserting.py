"""What an application that enqueues by INSERT is granted, and what it sends."""

from __future__ import annotations

# docs/database.md asks operators to grant this to an application that enqueues by INSERT.
COLUMN_GRANT = (
    "GRANT INSERT (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds, tags) ON haulier.job TO {}"
)
TABLE_GRANT = "GRANT INSERT ON haulier.job TO {}"
INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{\"n\": 1}')"
# What the API is sent.
EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
