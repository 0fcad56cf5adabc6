"""Deterministic simulations: the product's own operations on a simulated clock, on fakes that fail as a seed says."""
