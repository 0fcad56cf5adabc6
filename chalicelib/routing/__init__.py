"""Every user reaches the nearest living region, by Route 53 records from fleet.toml and operations on them."""
