"""Error groups: failed attempts with the same fingerprint, and how often each occurs."""
