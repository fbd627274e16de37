"""The threads of a worker process, a file for each."""
