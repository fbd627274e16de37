"""A good request, of which the hostile ones are made."""

from __future__ import annotations

import json

EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
TEXT = json.dumps(EMAIL)
SOME_ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
