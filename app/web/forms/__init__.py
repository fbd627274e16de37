"""From what was typed to a request, and back."""
