"""Masks the secret fields of jobs, for all callers but those who may do everything."""

from __future__ import annotations

import json
from typing import Any

from haulier.domain.api_key import Scope
from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import Tree, masked, secret_fields, secret_texts, without
from haulier.queue.rows import StoredJob

from ..http.door import caller
from ..http.service import service


def as_shown(job: StoredJob) -> StoredJob:
    """Return the job as the caller may see it.

    Shape: the texts of a job that may quote its payload (errors, result, progress) are masked as well.
    """
    kind: Kind | None = service().kinds.get(job.kind)
    tree = None if kind is None else secret_fields(kind.schema)
    return job if tree is None or _may_see_all() else _masked(job, tree)


def _may_see_all() -> bool:
    key = caller().key
    return key is None or key.may(Scope.ADMIN)


def _masked(job: StoredJob, tree: Tree) -> StoredJob:
    payload = job.payload
    secrets = secret_texts(payload, tree)

    def plain(text: bytes) -> bytes | None:
        return None if text == b"null" else without(text.decode(), secrets).encode()

    changes: dict[str, Any] = {
        "payload": json.dumps(masked(payload, tree), ensure_ascii=False, separators=(",", ":")).encode(),
        "last_error": job.last_error and without(job.last_error, secrets),
        "errors": plain(job.errors_text),
        "result": plain(job.result_text),
        "progress": plain(job.progress_text),
    }
    return job._replace(**changes)
