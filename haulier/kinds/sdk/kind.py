"""One kind of job, as this process knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from marshmallow import Schema, ValidationError

from haulier.config import Config
from haulier.domain.job import Json
from haulier.domain.retry import RetryPolicy
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail
from haulier.kinds.sdk.payload import check_storable, explain

Handler = Callable[[JobContext, dict[str, Json]], Json]
Check = Callable[[Config], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: its name, the shape of its payload, and what it does.

    Shape: needs names the fields of Config that must be set, e.g. ("smtp_url", "mail_from"); check is called once
           at start, when they are; it raises ConfigError where one of them is wrong, or returns a warning.
           isolated runs its jobs in a child process, which of what may hold a secret sees only needs and reads:
           fields of Config that it can do without ("storage_url"), variables of the environment ("AWS_*").
    Units: timeout is seconds; None means that a run may last for ever.
    """

    name: str
    schema: Schema
    run: Handler
    timeout: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    needs: tuple[str, ...] = ()
    check: Check | None = None
    isolated: bool = False
    reads: tuple[str, ...] = ()
    # What a child process has to import to know it.
    module: str = ""

    def load(self, payload: dict[str, Json]) -> dict[str, Json]:
        """Return the payload, checked and with its defaults. Raises: marshmallow's ValidationError."""
        check_storable(payload)
        loaded: dict[str, Json] = self.schema.load(payload)
        return loaded

    def missing_settings(self, config: Config) -> list[str]:
        """Return the names, as in the environment, of the settings that this kind lacks."""
        return [need.upper() for need in self.needs if not getattr(config, need)]

    def perform(self, context: JobContext) -> Json:
        """Run the context's job and return the handler's result.

        Raises: Fail for a setting that is missing or a payload that does not fit (any more), and whatever the
                handler raises.
        """
        if missing := self.missing_settings(context.settings):
            raise Fail(f"{self.name} needs {' and '.join(missing)}, which is not set")
        try:
            payload = self.load(context.job.payload)
        except ValidationError as error:
            raise Fail(f"the payload does not fit {self.name}: {explain(error.messages)}") from error
        return self.run(context, payload)
