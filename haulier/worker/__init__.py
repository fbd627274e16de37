"""The worker process, its threads and what they share. `threads` act, `steps` are what they do, `shared` what they use.

start.py          reads the settings and runs one process, or the parent of several
parent.py         where there are several: forks, replaces and stops them
process.py        one process: starts the threads, watches them, times jobs out, stops everything in order
  runner          (WORKER_THREADS of them) runs one job after the other; makes the round trip for all when jobs run low
  settler         settles what the runners leave lying, and gives back what would wait
  heartbeat       beats, hears of cancels, gives back what nobody here holds, looks for suspects, rescues
  listener        turns the database's knocks into wake-ups, or passes them on
  housekeeper     makes and drops partitions of the history, forgets what is old
isolation/        jobs that run in a child process; a thread of its own, the starter, starts those
metrics/          what is counted, and the port at which it is read, with a thread of its own for each connection

shared/
  buffer          jobs to start and outcomes to settle; whose turn it is to call the database
  held            every job that this process holds, and the claims without an answer
  marks           where each lane is claimed from; claim_size, how far ahead; call_size, how much one call carries
  refused         what the database refuses for now
  lease           who this process is, and whether its claims are its own
  bell            wakes whoever waits for work; sleeper, whether the database wakes us; notify_check, whether it can
  outage          whether the database is away; sparing_log, warnings that many jobs cause at once
"""
