"""Measures Haulier beside the raw limit and the peers: `make bench`. docs/benchmarks.md shows the results."""
