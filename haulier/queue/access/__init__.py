"""Who may call, and the record of what operators did."""
