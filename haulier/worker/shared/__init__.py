"""What the threads of a process share."""
