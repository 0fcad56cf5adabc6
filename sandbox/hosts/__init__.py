"""The programs of the sandbox's instances, as a customer has them."""
