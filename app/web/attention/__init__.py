"""What needs attention: the facts, and the notices made of them."""
