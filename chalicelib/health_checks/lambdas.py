"""The Lambdas of health checks: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import ALERT, COORDINATION_TABLE, MINUTE, REGIONAL_TABLE, Lambda, Permission, Schedule

LAMBDAS = (
    Lambda(
        name="health_checks.rotate",
        timeout_seconds=55,
        memory_mb=256,
        trigger=Schedule(
            MINUTE,
            "one step of the health checks' round over the hosts",
            failing="health_checks_rotate fails, and checks stay on hosts that may be gone",
            section="health_checks",
        ),
        permissions=(
            Permission(
                "SeeHosts",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                ),
                "{hosts-any}",
            ),
            Permission("MakeChecks", ("route53:CreateHealthCheck", "route53:ListHealthChecks"), "{checks-any}"),
            Permission(
                "TurnChecks",
                ("route53:GetHealthCheck", "route53:GetHealthCheckStatus", "route53:UpdateHealthCheck"),
                "{checks}",
            ),
            Permission("Publish", ("dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="health_checks.status",
        timeout_seconds=30,
        memory_mb=256,
        permissions=(
            Permission(
                "SeeHosts",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                ),
                "{hosts-any}",
            ),
            Permission("Remember", ("dynamodb:GetItem",), REGIONAL_TABLE),
        ),
    ),
)
