"""The pages, one module a subject. Each has a `section`; the dashboard finds them by being here."""
