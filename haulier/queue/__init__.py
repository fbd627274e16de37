"""The only room with SQL: `produce` for whoever has work, `consume` for whoever does it."""
