"""The MySQL protocol, GTID sets, dialects and connections."""
