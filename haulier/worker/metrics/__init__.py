"""The metrics of a worker, and the port at which they are read."""
