"""Who is measured: each knows how to set itself up, take jobs, work, and tell when it is done."""
