"""Commands for Route 53 records."""
