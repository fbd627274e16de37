"""Workers on other hosts, 10 and 50 ms from their database, and cut off from it; see lab/hosts.py."""
