"""Moves a cell between two servers under load, and with everything killed that takes part."""
