"""The worker process: its threads, what they do, what they share. A test checks this map against the files.

start          reads the settings and runs one process, or the parent of several; for tests, a worker in their process,
               whose main thread is the thread guest
parent         forks, replaces and stops several processes; in each the thread lifeline waits for the parent's end
assembly       puts one process together: makes what is shared, and gives each thread what it uses
process        one process: starts the threads, watches them, stops everything in order

threads/       one file for each thread
  runner       (WORKER_THREADS of them) runs one job after the other; makes the round trip for all when jobs run low,
               and waits if there is no work
  settler      settles outcomes that no runner has settled, and gives back jobs that would wait
  heartbeat    beats, learns of cancels and pauses, writes progress, gives back jobs that no thread holds, finds
               suspects, rescues, sees whether there are schedules
  listener     turns notifications of the database into wake-ups, or passes them on to another worker
  scheduler    fires the ticks of schedules that are due
  housekeeper  makes and drops partitions of the history, deletes old keys and names of queues, counts
  operations   works operations off, while any is due: what is done to all jobs of a filter

steps/         what they do
  settle_and_claim  the one call for all threads, made by a runner or the settler; what did not settle with the
               others is settled together again, one by one, or later
  claim_less   finds the job for which the database refuses a claim
  execute      runs one job: from the claimed job to its outcome
  report       logs and counts the runs that have been settled, and the failed attempts by groups of errors
  timeouts     stops jobs whose time is up; called by the main thread
  pauses       gives back jobs that were claimed ahead, when their queue is paused; called by the heartbeat
  suspects     jobs that have crashed before: the heartbeat looks for them, a runner runs each by itself
  beat         this process's row in the table of workers
  vitals       measures memory, CPU, busy threads and isolated processes, for the beat
  memory_growth  finds out whether the process grows steadily past its usual size
  progress     writes what running handlers have said of how far they have come
  strays       gives back jobs that run in this process's name, though no thread holds them
  rescue       takes the jobs of dead workers
  fire         decides the ticks that are due, and enqueues their jobs; called by the scheduler
  count        counts the numbers while it is this process's turn; called by the housekeeper
  operate      a chunk of an operation after the other, with rests between them
  sparing_log  warnings that many jobs cause at once

The threads share three objects, which learn of the answer to each claim: supply, lanes and link.

supply/        the jobs that this process holds
  buffer       jobs to start and outcomes to settle; which thread may call the database for all
  held         every job that this process holds, and the claims without an answer
  sizes        how many jobs are claimed ahead, and how much one call carries
  shutdown     how far the process has come in stopping

lanes/         where it claims
  marks        where to begin claiming in each lane, and which lane comes first if several have more than a claim
               can take
  refused      the jobs that the database refuses for now
  scan         finds lanes that are new here

link/          what it knows of the database
  lease        the id of this process, and whether its claims are still its own
  outage       whether the database is away
  sleeper      the bell that wakes the thread that waits for work; whether this process asks the database to ring it
  notify_check  whether notifications come through

isolation/     jobs in child processes
  children     the child processes of this process
  child        one child process, as the worker sees it
  ends         which child processes have died
  reaper       the program between the two: starts the child, and ends all that its jobs have started
  run          what the child does; its thread control receives stops, teller sends progress

metrics/       what is counted
  counts       each number
  port         where Prometheus reads them; the thread metrics accepts, and each scrape has its own thread
  http_server  the server of that port

A job's way from claim to settle goes by settle_and_claim, held, buffer, runner, execute and report.
"""
