"""Schedules: make and change them, decide and fire their ticks, apply schedules.toml."""
