"""The Lambdas of health checks, one row each, and all that they may do."""

from chalicelib.engine.deployment import ALERTING, Lambda, Permission, Schedule, coordination, regional

HOSTS = Permission(
    "SeeHosts", "ec2:DescribeInstances elasticloadbalancing:DescribeTargetGroups "
    "elasticloadbalancing:DescribeTargetHealth", "{hosts-any}", "the hosts are the targets of the target groups",
    wildcard="calls that describe have no resource")
MAKE = Permission(
    "MakeChecks", "route53:CreateHealthCheck route53:ListHealthChecks", "{checks-any}", "makes its checks once",
    wildcard="the id of a check is not known before Route 53 has made it, and the list has no resource")
TURN = Permission(
    "TurnChecks", "route53:GetHealthCheck route53:GetHealthCheckStatus route53:UpdateHealthCheck", "{checks}",
    "points its checks at other hosts", wildcard="Route 53 chooses the ids, and policies cannot go by a check's tags")
PUBLISHED = coordination("Publish", "GetItem PutItem", "region-check", why="routing attaches the region's check")
MEMORY = regional("Remember", "GetItem PutItem", "health-checks", why="its own state, claimed before it acts")
SEE_MEMORY = regional("ReadState", "GetItem", "health-checks", why="which check is on which host")

ROTATED = Schedule(section="health_checks", does="one step of the health checks' round over the hosts",
                   harm="checks stay on hosts that may be gone")

# name, seconds, MB, permissions
LAMBDAS = (
    Lambda("health_checks.rotate", 55, 256, (HOSTS, MAKE, TURN, PUBLISHED, MEMORY, *ALERTING), trigger=ROTATED,
           reserved=3),
    Lambda("health_checks.status", 30, 256, (HOSTS, SEE_MEMORY)),
)
