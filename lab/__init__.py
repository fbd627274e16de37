"""Experiments with Haulier as others run it: `make bench` measures it, `make chaos` breaks it. It is in no wheel.

bench      measures beside the raw limit and the peers
chaos      faults by a plan, and a soak; what must hold afterwards

What both need, or the tests as well, is beside them: they do not import each other, and none of them imports the tests.
"""
