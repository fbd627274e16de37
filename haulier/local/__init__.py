"""Haulier on one machine, without anything installed: an embedded Postgres, a supervisor and a demo.

Used by make and `haulier run`; what is deployed does not need it.
"""
