"""Counts of jobs by time, queue and kind, kept by a worker and read by pages and metrics."""
