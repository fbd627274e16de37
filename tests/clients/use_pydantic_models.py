"""Calls the API by httpx and the models that datamodel-codegen made, and prints what came back as JSON.

    python use_pydantic_models.py URL KEY

Runs in .venv-clients, beside the generated haulier_models, and passes mypy --strict against it.
"""

from __future__ import annotations

import json
import sys

import httpx
from haulier_models import (
    Action,
    CancelResponse,
    CreateSummarizeTextJob,
    JobResponse,
    JobStatus,
    OperationFilter,
    PreviewResponse,
    StartOperation,
    SummarizeTextPayload,
)

TEXT = "Zürich & co=1. It was late."


def main(url: str, key: str) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
        enqueued = JobResponse.model_validate_json(post(client, "/jobs", draft(TEXT)))
        post(client, "/jobs", draft("Another."))
        asked = client.get("/jobs", params={"status": JobStatus.queued.value, "payload": f"text={TEXT}"})
        listed = [JobResponse.model_validate(each) for each in asked.json()]
        path = f"/jobs/{enqueued.id.root}"
        read = JobResponse.model_validate_json(client.get(path).content)
        wanted = OperationFilter.model_validate({"status": JobStatus.queued, "payload.text": TEXT})
        order = StartOperation(action=Action.cancel, filter=wanted, dry_run=True)
        preview = PreviewResponse.model_validate_json(
            post(client, "/operations", order.model_dump_json(exclude_unset=True))
        )
        cancelled = CancelResponse.model_validate_json(client.post(f"{path}/cancel").content)
    said = {
        "enqueued": enqueued.model_dump(mode="json"),
        "listed": [job.model_dump(mode="json") for job in listed],
        "read": read.model_dump(mode="json"),
        "matched": preview.matched,
        "cancelled": cancelled.model_dump(mode="json"),
    }
    print(json.dumps(said))


def draft(text: str) -> str:
    job = CreateSummarizeTextJob(kind="summarize_text", payload=SummarizeTextPayload(text=text))
    return job.model_dump_json(exclude_unset=True)


def post(client: httpx.Client, path: str, body: str) -> bytes:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    answer.raise_for_status()
    return answer.content


if __name__ == "__main__":
    main(*sys.argv[1:])
