"""The queue: what each verb does, and the SQL of it beside it."""
