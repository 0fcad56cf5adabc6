"""Deterministic simulations of the real operations on a simulated clock, with every fault of a seed."""
