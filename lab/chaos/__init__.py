"""Breaks Haulier for real, by a plan that comes from a seed, and holds what it then finds against a ledger of its own.

plan       which fault comes when
stage      the real processes: a Postgres, proxies before it, gunicorn, workers
faults     how each fault is done, and undone
kinds      the jobs' handlers, which write the ledger
load       the clients, who remember what was accepted
evidence   everything that is known at the end; verdict judges it, and makes findings
soak       the same stage, unbroken and for long
report     docs/reliability.md
"""
