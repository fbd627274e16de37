"""Limits on slow, large and failing requests."""
