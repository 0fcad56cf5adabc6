"""fleet.toml as typed, checked values."""
