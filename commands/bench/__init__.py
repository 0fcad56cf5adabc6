"""`lamp bench`."""
