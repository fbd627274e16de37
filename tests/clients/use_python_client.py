"""Calls the API by the client that openapi-python-client made, and prints what came back as JSON.

    python use_python_client.py URL KEY

Runs in .venv-clients, beside the generated haulier_client, and passes mypy --strict against it.
"""

from __future__ import annotations

import json
import sys

from haulier_client import AuthenticatedClient
from haulier_client.api.jobs import cancel_job, enqueue_job, enqueue_jobs, get_job, list_jobs, retry_job
from haulier_client.api.kinds import list_kinds
from haulier_client.models import (
    BatchResponse,
    CancelResponse,
    CreateResizeImageJob,
    CreateResizeImageJobKind,
    CreateSendEmailJob,
    CreateSendEmailJobKind,
    CreateSummarizeTextJob,
    CreateSummarizeTextJobKind,
    CreateWebhookDeliveryJob,
    CreateWebhookDeliveryJobKind,
    ErrorBody,
    JobResponse,
    JobStatus,
    ResizeImageFit,
    ResizeImagePayload,
    SendEmailPayload,
    SummarizeTextPayload,
    WebhookDeliveryPayload,
    WebhookDeliveryPayloadHeadersType0,
)

Request = CreateResizeImageJob | CreateSendEmailJob | CreateSummarizeTextJob | CreateWebhookDeliveryJob

HEADERS = WebhookDeliveryPayloadHeadersType0()
HEADERS["X-Shop"] = "7"
REQUESTS: list[Request] = [
    CreateResizeImageJob(
        kind=CreateResizeImageJobKind.RESIZE_IMAGE,
        payload=ResizeImagePayload(source="https://example.com/cat.jpg", width=640, fit=ResizeImageFit.COVER),
        priority=5,
    ),
    CreateSendEmailJob(
        kind=CreateSendEmailJobKind.SEND_EMAIL,
        payload=SendEmailPayload(to="a@b.c", subject="Hi", body="Hello.", cc=["d@b.c", "e@b.c"], bcc="f@b.c"),
        queue=None,
    ),
    CreateSummarizeTextJob(
        kind=CreateSummarizeTextJobKind.SUMMARIZE_TEXT,
        payload=SummarizeTextPayload(text="The ship came in. It was late."),
    ),
    CreateWebhookDeliveryJob(
        kind=CreateWebhookDeliveryJobKind.WEBHOOK_DELIVERY,
        payload=WebhookDeliveryPayload(url="https://b.c/hook", body={"lines": [1, None, "x"]}, headers=HEADERS),
    ),
]


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)
    enqueued = [the_job(enqueue_job.sync(client=client, body=request)) for request in REQUESTS]
    listed = list_jobs.sync(client=client, status=[JobStatus.QUEUED], limit=10)
    assert isinstance(listed, list)
    searched = list_jobs.sync(client=client, payload=["to=a@b.c", "body=Hello."])
    assert isinstance(searched, list)
    read = [the_job(get_job.sync(job.id, client=client)) for job in enqueued]
    cancelled = [cancel_job.sync(job.id, client=client) for job in enqueued]
    assert all(isinstance(answer, CancelResponse) for answer in cancelled)
    retried = the_job(retry_job.sync(enqueued[0].id, client=client))
    batch = enqueue_jobs.sync(client=client, body=REQUESTS)
    assert isinstance(batch, BatchResponse)
    kinds = list_kinds.sync(client=client)
    assert isinstance(kinds, list)
    refused = enqueue_job.sync(client=client, body=REQUESTS[0], idempotency_key='""')
    assert isinstance(refused, ErrorBody)
    said = {
        "enqueued": [job.to_dict() for job in enqueued],
        "listed": [str(job.id) for job in listed],
        "searched": [str(job.id) for job in searched],
        "read": [job.to_dict() for job in read],
        "retried": retried.to_dict(),
        "batch": [str(item.id) for item in batch.jobs],
        "kinds": [each.kind for each in kinds],
        "refused": refused.error,
    }
    print(json.dumps(said))


def the_job(answer: JobResponse | ErrorBody | None) -> JobResponse:
    assert isinstance(answer, JobResponse), answer
    return answer


if __name__ == "__main__":
    main(*sys.argv[1:])
