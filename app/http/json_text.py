"""JSON as it is printed."""

from __future__ import annotations

import json

# Made once. The order in which a job's fields were thought out is the order in which they are shown.
as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
