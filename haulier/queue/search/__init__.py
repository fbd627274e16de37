"""Read jobs: one by its id, a list, a count. Each function takes a connection."""

from __future__ import annotations

from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import PAGE_BYTES, Count, Page, count_jobs, get, list_jobs

__all__ = ["Count", "JobFilter", "PAGE_BYTES", "Page", "count_jobs", "get", "list_jobs"]
