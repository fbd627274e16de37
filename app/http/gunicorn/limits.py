"""How many connections a web process accepts, by its limit of open files, some of which it needs for itself."""

from __future__ import annotations

import resource

MOST_CONNECTIONS = 500
# With fewer there would not be one for each thread beside the spare connections, which are always kept free.
LEAST_CONNECTIONS = 16
# For libraries, logs, listening sockets, and the counts of all processes, which a scrape reads.
OWN_FILES = 64
# A database connection, and the file of a page.
FILES_OF_THREAD = 2


def open_files(threads: int) -> int:
    """Return how many files this process may open, after raising the limit as far as is useful and allowed.

    It is raised no further than needed: select(), which some libraries still use, fails for files beyond 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MOST_CONNECTIONS + OWN_FILES + FILES_OF_THREAD * threads
    if soft < needed and soft != resource.RLIM_INFINITY:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return needed if soft == resource.RLIM_INFINITY else soft


def connections(files: int, threads: int) -> int:
    """Return how many of these files may be connections; fewer than LEAST_CONNECTIONS + threads are not enough."""
    return min(MOST_CONNECTIONS, files - OWN_FILES - FILES_OF_THREAD * threads)
