"""The AWS services of the product. Each has a port (a Protocol) and an adapter that calls the real service."""
