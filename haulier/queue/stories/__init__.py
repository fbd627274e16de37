"""The stories of one job or queue: why it waits, what happened to it, what runs next."""
