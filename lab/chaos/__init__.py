"""Breaks Haulier's real processes by a plan that follows from a seed, and compares the end with a ledger of its own.

plan       which fault comes when
stage      the real processes: a Postgres, proxies before it, gunicorn, workers
faults     how each fault is done and undone
kinds      the jobs' handlers, which write the ledger
load       the clients, which remember the accepted jobs
evidence   everything that is known at the end; verdict judges it and writes findings
soak       the same stage without faults, for a long time
report     docs/reliability.md
"""
