"""Jobs that run in their own process."""
