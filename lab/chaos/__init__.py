"""Breaks Haulier's real processes by a plan that follows from a seed, and compares the end with a ledger of its own.

plan       which fault comes when
stage      the real processes: a Postgres, proxies before it, gunicorn, workers
faults     how each fault is done and undone
kinds      the jobs' handlers, which write the ledger
load       the clients, which remember the accepted jobs
operators  what operators do meanwhile, by the same clients, and each answer
schedules  what fires by itself meanwhile, and what its ticks should have come to
evidence   everything that is known at the end, witness what the suite's triggers saw of operators' acts
verdict    judges it and writes findings; pauses and acts judge these two
soak       the same stage without faults, for a long time
report     docs/reliability.md
"""
