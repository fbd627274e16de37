"""`python worker.py`: claims jobs and runs them until it is told to stop. `python -m haulier worker` is the same."""

from haulier.worker.start import work_and_leave

if __name__ == "__main__":
    work_and_leave()
