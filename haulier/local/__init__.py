"""Haulier on one machine, without anything installed: an embedded Postgres, a supervisor and a demo.

Only make and `haulier run` use it; nothing that is deployed needs it.
"""
