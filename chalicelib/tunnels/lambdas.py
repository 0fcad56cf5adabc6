"""The Lambdas of tunnels: trigger, time-out, memory, network and permissions of each."""

from chalicelib.engine.deployment import ALERT, COORDINATION_TABLE, MINUTE, REGIONAL_TABLE, Lambda, Permission, Schedule

LAMBDAS = (
    Lambda(
        name="tunnels.heal",
        timeout_seconds=320,
        memory_mb=512,
        trigger=Schedule(
            MINUTE,
            "a minute of rounds over the tunnels",
            failing="tunnels_heal fails, and tunnels that break stay broken",
            section="tunnels",
        ),
        private_network=True,
        handler="controller:handle",
        permissions=(
            Permission("SeeGroup", ("autoscaling:DescribeAutoScalingGroups",), "{tunnel-group-any}"),
            Permission(
                "SeeTunnels",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnels-any}",
            ),
            Permission(
                "Balance",
                ("elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"),
                "{tunnel-targets}",
            ),
            Permission("Restart", ("ssm:SendCommand",), "{tunnel-document}"),
            Permission("RestartThere", ("ssm:SendCommand",), "{tunnel-instances}"),
            Permission("Lead", ("ssm:PutParameter",), "{tunnel-lead}"),
            Permission("Replace", ("autoscaling:TerminateInstanceInAutoScalingGroup",), "{tunnel-group}"),
            Permission(
                "Power",
                ("ec2:StartInstances", "ec2:StopInstances"),
                "{tunnel-machines}",
                {"StringEquals": {"aws:ResourceTag/{tunnel-tag}": "{tunnel-value}"}},
            ),
            Permission(
                "Canaries", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), COORDINATION_TABLE
            ),
            ALERT,
            Permission("Remember", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="tunnels.status",
        timeout_seconds=30,
        memory_mb=256,
        handler="controller:OTHERS",
        permissions=(
            Permission("SeeGroup", ("autoscaling:DescribeAutoScalingGroups",), "{tunnel-group-any}"),
            Permission(
                "SeeTunnels",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnels-any}",
            ),
            Permission("SeeThrone", ("dynamodb:GetItem",), "{throne}"),
            Permission("Canaries", ("dynamodb:BatchGetItem",), COORDINATION_TABLE),
            Permission("Remember", ("dynamodb:BatchGetItem", "dynamodb:GetItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="tunnels.drain",
        timeout_seconds=30,
        memory_mb=256,
        private_network=True,
        handler="controller:OTHERS",
        permissions=(
            Permission("SeeGroup", ("autoscaling:DescribeAutoScalingGroups",), "{tunnel-group-any}"),
            Permission(
                "SeeTunnels",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnels-any}",
            ),
            Permission("Balance", ("elasticloadbalancing:DeregisterTargets",), "{tunnel-targets}"),
            Permission("SeeThrone", ("dynamodb:GetItem",), "{throne}"),
            Permission("Canaries", ("dynamodb:BatchGetItem",), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="tunnels.undrain",
        timeout_seconds=30,
        memory_mb=256,
        private_network=True,
        handler="controller:OTHERS",
        permissions=(
            Permission("SeeGroup", ("autoscaling:DescribeAutoScalingGroups",), "{tunnel-group-any}"),
            Permission(
                "SeeTunnels",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnels-any}",
            ),
            Permission("Balance", ("elasticloadbalancing:RegisterTargets",), "{tunnel-targets}"),
            Permission("SeeThrone", ("dynamodb:GetItem",), "{throne}"),
            Permission("Canaries", ("dynamodb:BatchGetItem",), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="tunnels.replace",
        timeout_seconds=30,
        memory_mb=256,
        private_network=True,
        handler="controller:OTHERS",
        permissions=(
            Permission("SeeGroup", ("autoscaling:DescribeAutoScalingGroups",), "{tunnel-group-any}"),
            Permission(
                "SeeTunnels",
                (
                    "ec2:DescribeInstances",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnels-any}",
            ),
            Permission("Replace", ("autoscaling:TerminateInstanceInAutoScalingGroup",), "{tunnel-group}"),
            Permission(
                "Power",
                ("ec2:StopInstances",),
                "{tunnel-machines}",
                {"StringEquals": {"aws:ResourceTag/{tunnel-tag}": "{tunnel-value}"}},
            ),
            Permission("SeeThrone", ("dynamodb:GetItem",), "{throne}"),
            Permission("Canaries", ("dynamodb:BatchGetItem",), COORDINATION_TABLE),
            ALERT,
            Permission("Remember", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
    Lambda(
        name="tunnels.rotate_keys",
        timeout_seconds=60,
        memory_mb=256,
        handler="keys.operation:ROTATE",
        permissions=(
            Permission(
                "SeeTunnels",
                (
                    "autoscaling:DescribeAutoScalingGroups",
                    "elasticloadbalancing:DescribeTargetGroups",
                    "elasticloadbalancing:DescribeTargetHealth",
                    "ssm:GetCommandInvocation",
                ),
                "{tunnel-hosts-any}",
            ),
            Permission(
                "TurnKey",
                (
                    "secretsmanager:DescribeSecret",
                    "secretsmanager:PutSecretValue",
                    "secretsmanager:UpdateSecretVersionStage",
                ),
                "{tunnel-secret}",
            ),
            Permission("TellKeys", ("ssm:GetParameter", "ssm:PutParameter"), "{tunnel-keys}"),
            Permission("Reload", ("ssm:SendCommand",), "{tunnel-hosts-document}"),
            Permission("ReloadThere", ("ssm:SendCommand",), "{tunnel-hosts-instances}"),
            ALERT,
            Permission("Remember", ("dynamodb:GetItem", "dynamodb:PutItem"), REGIONAL_TABLE),
        ),
    ),
)
