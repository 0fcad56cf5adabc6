"""The replicas of the primary, one in each region. They are watched, repaired without a skipped event, and can be
promoted."""
