"""Shows answers: to people as text and tables, to programs as JSON."""
