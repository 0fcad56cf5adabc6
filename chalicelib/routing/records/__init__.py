"""Compiles the fleet into Route 53 records, and verifies them."""
