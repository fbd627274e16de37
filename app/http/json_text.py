"""Prints JSON."""

from __future__ import annotations

import json

# One encoder for all calls. It does not sort keys: a job's fields are shown in the order in which they are listed.
as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
