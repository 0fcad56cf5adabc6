"""The replicas of the master, one a region: watched, healed without ever skipping an event, and promotable."""
