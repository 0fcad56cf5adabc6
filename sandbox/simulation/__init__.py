"""Deterministic simulations: the real operations on a simulated clock, with every fault that a seed can think of."""
