"""Cells: separate installations side by side, each with its own database, behind one router."""
