"""What the author of a kind uses: the decorator, the context, the payload's schema, and how a run may end."""
