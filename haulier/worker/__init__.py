"""The worker process: who acts, what they do, what they share. A test holds this map against the files.

start          reads the settings and runs one process, or the parent of several
parent         where there are several: forks, replaces and stops them; in each child, lifeline waits for its end
assembly       puts one process together: makes what is shared, and gives each thread what it uses
process        one process: starts the threads, watches them, stops everything in order

threads/       who acts, each a thread
  runner       (WORKER_THREADS of them) runs one job after the other; makes the round trip for all when jobs run low
  settler      settles what the runners leave lying, and gives back what would wait
  heartbeat    beats, hears of cancels, gives back what nobody here holds, looks for suspects, rescues
  listener     turns the database's knocks into wake-ups, or passes them on
  housekeeper  makes and drops partitions of the history, forgets what is old

steps/         what they do
  settle_and_claim  the one call for all, made by a runner or the settler
  settle_doubtful  what did not settle with the others: together again, one by one, or held back
  claim_less   after a claim that the database refuses: the search for the job that is the reason
  scan         the look for lanes that are new here
  wait         how a runner waits for work, and wakes other workers
  execute      runs one job: from the claimed job to its outcome
  report       what is said of a run that has been settled
  timeouts     the end of a job's time, seen to by the main thread
  suspects     jobs that have crashed before: the heartbeat looks for them, a runner runs them alone
  beat         this process's row among the workers
  strays       jobs in this process's name that nobody here holds
  rescue       takes the jobs of the dead

shared/        what they share
  buffer       jobs to start and outcomes to settle; whose turn it is to call the database
  held         every job that this process holds, and the claims without an answer
  marks        where each lane is claimed from
  claim_size   how far ahead is claimed
  call_size    how much one call carries
  refused      what the database refuses for now
  lease        who this process is, and whether its claims are its own
  bell         wakes whoever waits for work
  sleeper      whether the database wakes us
  notify_check  whether it can
  outage       whether the database is away
  shutdown     how far the process has come in stopping
  sparing_log  warnings that many jobs cause at once

isolation/     jobs in child processes, which the thread starter-of-children starts
  children     those of this process
  child        one of them, seen from here
  run          the program of one; its thread control hears of stops

metrics/       what is counted
  counts       each number
  port         where they are read; the thread metrics answers there, each scrape by one of its own
  http_server  the server of that port

A job's way from claim to settle goes by settle_and_claim, held, buffer, runner, execute and report.
The rest of shared is asked, or told, on that way.
"""
