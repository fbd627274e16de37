"""Schedules as values: cron expressions, time zones, ticks."""
