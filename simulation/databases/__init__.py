"""A fleet's databases for ninety minutes: the product's operations, everything around them simulated."""
