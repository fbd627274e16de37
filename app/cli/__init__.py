"""The commands of `python -m app` that need more than a line."""
