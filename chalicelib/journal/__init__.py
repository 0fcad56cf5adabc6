"""The journal of a region, with its actions, their times, operations and reasons."""
