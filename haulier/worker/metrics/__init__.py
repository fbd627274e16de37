"""What a worker counts, and the port at which it is read."""
