"""The facts about schedules that other capabilities may know."""

# Under this name the runs of queues leave their alerts. The next tick of the region delivers them.
ALERTS = "schedules"
