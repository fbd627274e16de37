"""gunicorn's worker class and hooks; none of its threads waits for a client."""
