"""How long and how far the machines go. `make model` is the long run; the short one does the same each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Few in `make test`, more in `make test-slow`.
FEW, EXAMPLES = 15, int(os.environ.get("MODEL_EXAMPLES", "50"))
SEED = int(os.environ.get("MODEL_SEED", "1"))

settings.register_profile(
    "model",
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    # A busy machine is slow, and no rule is always possible.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
