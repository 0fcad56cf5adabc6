"""`lamp demo`."""
