"""For authors of kinds: the decorator, the context, the payload's schema, and the exceptions that end a run."""
