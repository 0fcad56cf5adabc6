"""What other capabilities may know of schedules."""

# Under this name the runs of queues leave their alerts. The next tick of the region delivers them.
ALERTS = "schedules"
