"""Calls Haulier from Python, over HTTP: with requests and the standard library only."""

from haulier.client.api_errors import HaulierError, Refused, Unreachable
from haulier.client.client import Client
from haulier.client.job_types import Enqueued, Job, JobChanges, JobFilter, JobOptions, JobRequest, Status

__all__ = [
    "Client",
    "Enqueued",
    "HaulierError",
    "Job",
    "JobChanges",
    "JobFilter",
    "JobOptions",
    "JobRequest",
    "Refused",
    "Status",
    "Unreachable",
]
