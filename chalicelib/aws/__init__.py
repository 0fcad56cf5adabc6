"""AWS as the product uses it: for each service a port (a Protocol) and the adapter that calls the real service."""
