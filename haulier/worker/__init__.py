"""The worker process: threads that claim, run and settle, and those that keep them honest.

Family       the parent of several such processes, where there are several: starts, replaces and stops them
Worker       the process: starts the threads below, watches them, stops them in order
  Runner     claims a job, runs it, settles it; several, each with its own connection
    Children run a job in a process of its own, where its kind is isolated
  Pulse      beats, learns of cancels, gives back what nobody here holds, rescues the jobs of the dead
  Listener   turns the database's knocks into wake-ups, or passes them on
  Housekeeper makes and drops the history's partitions, forgets old idempotency keys
"""
