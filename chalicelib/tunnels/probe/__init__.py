"""Asks each tunnel whether the database behind it answers."""
