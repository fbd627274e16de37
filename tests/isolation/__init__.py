"""Bulkheads: what the database refuses of one row, or of one statement, must not stop the rest."""
