"""The commands of `python -m haulier` that need more than a line."""
