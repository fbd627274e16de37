"""What clients send, described once: for the API, for schedules.toml and for the forms of the dashboard."""
