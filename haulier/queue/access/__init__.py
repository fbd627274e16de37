"""API keys, which say who may call, and the audit of what operators did."""
