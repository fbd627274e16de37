"""Calls the API of a Haulier: which one, with which key, and what went wrong."""
