"""The Lambdas of the journal, one row each, and all that they may do."""

from chalicelib.engine.deployment import Lambda, regional

READ = regional("Read", "Query", "journal#*", why="the entries of each day")

# name, seconds, MB, permissions
LAMBDAS = (Lambda("journal.read", 30, 256, (READ,)),)
