"""`lamp deploy`: packages and releases into each region."""
