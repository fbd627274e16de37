"""Experiments with Haulier from outside: `make bench` measures it, `make chaos` breaks it. They are not in the wheel.

bench      measures it, and compares it with the raw limit and with peers
chaos      does faults by a plan, or a soak, and checks what must hold afterwards

The modules beside them are for both, and some for the tests. bench and chaos do not import each other, nor the tests.
"""
