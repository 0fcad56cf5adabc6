"""The Lambdas of databases, one row each, and all that they may do."""

from chalicelib.engine.deployment import (
    ALERTING,
    JOURNAL,
    Lambda,
    Permission,
    Schedule,
    coordination,
    regional,
)

_SUFFIX = "Secrets Manager adds six characters to the name of a secret"
WATCHER = Permission("WatcherSecret", "secretsmanager:GetSecretValue", "{database-secret}",
                     "its user reads the state of the servers", wildcard=_SUFFIX)
ADMIN = Permission("AdminSecret", "secretsmanager:GetSecretValue", "{admin-secret}",
                   "its user starts replication and sets read-only", wildcard=_SUFFIX)
LOGIN = (WATCHER, ADMIN)

PRIMARY = coordination("ReadPrimary", "GetItem", "primary", why="which region has the primary")
REPORTS = coordination("ReadReports", "BatchGetItem", "databases", why="the state of each region's server")
SEE = (PRIMARY, REPORTS)
SET_PRIMARY = coordination("WritePrimary", "PutItem", "primary", why="the term and the fence of the primary")
REPORT = coordination("Report", "GetItem PutItem", "databases", why="tells the other regions of its server")
OLD_REPORT = coordination("ReadOldReport", "GetItem", "databases", why="the last transactions of a dead primary")
MEMORY = regional("Remember", "GetItem PutItem", "databases", why="its own state, claimed before it acts")
NEWEST_TERM = regional("Recall", "GetItem", "databases", why="the newest term that this region has seen")
READINESS = regional("Readiness", "GetItem PutItem", "readiness", why="whether this region may serve")
TUNNELS = regional("ReadTunnels", "GetItem", "tunnels", why="whether the tunnels or the server are to blame")

WATCHED = Schedule(section="databases", does="look at the region's database, write the heartbeat",
                   harm="nobody sees replication stop, and an old primary is not fenced")
HEALED = Schedule(section="databases", does="start replication that stands still",
                  harm="replication that stops stays stopped")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("databases.watch", 60, 256, (*LOGIN, *SEE, SET_PRIMARY, REPORT, MEMORY, READINESS, *ALERTING),
           trigger=WATCHED, private_network=True, reserved=3),
    Lambda("databases.heal", 90, 256, (*LOGIN, *SEE, MEMORY, TUNNELS, *ALERTING), trigger=HEALED,
           private_network=True, reserved=4),
    Lambda("databases.tune", 120, 256, (*LOGIN, *SEE, NEWEST_TERM, JOURNAL), private_network=True),
    Lambda("databases.fence", 300, 256, (*LOGIN, *SEE, SET_PRIMARY, REPORT, NEWEST_TERM, JOURNAL),
           private_network=True),
    Lambda("databases.promote", 900, 256, (*LOGIN, *SEE, SET_PRIMARY, OLD_REPORT, NEWEST_TERM, *ALERTING),
           private_network=True),
    Lambda("databases.status", 30, 256, (WATCHER, *SEE, NEWEST_TERM), private_network=True),
)
