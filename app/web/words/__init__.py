"""Domain values as pages show them."""
