"""How gunicorn serves: no thread of it waits for a client."""
