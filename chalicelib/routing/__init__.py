"""Every user reaches the nearest living region: Route 53 records from fleet.toml, and operations on them."""
