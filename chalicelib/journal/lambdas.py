"""The Lambdas of the journal, one row each, and all that they may do."""

from chalicelib.engine.deployment import Lambda, regional

READ = regional("Read", "Query", "journal#*", why="the entries of each day")
SEE_ALERTS = regional("ReadAlerts", "Query", "alerts", why="the alerts of each operation")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("journal.read", 30, 256, (READ,)),
    Lambda("journal.alerts", 30, 256, (SEE_ALERTS,)),
)
