"""Queues: their names and their pauses."""
