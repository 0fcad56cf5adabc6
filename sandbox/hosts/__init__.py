"""Programs that the sandbox's instances run: what a customer has on his own."""
