"""Moving a cell: its database goes from one server to another by logical replication, while programs run."""
