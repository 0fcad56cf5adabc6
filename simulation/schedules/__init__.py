"""Regions that run the real operations of schedules through crashes, clock skew, and lost and doubled triggers."""
