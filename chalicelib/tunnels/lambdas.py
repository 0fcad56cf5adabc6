"""The Lambdas of tunnels, one row each, and all that they may do."""

from chalicelib.engine.deployment import ALERTING, ANY_REPLICA, Lambda, Permission, Schedule, coordination, regional

_DESCRIBE = "calls that describe have no resource"
_HOSTS = "hosts come and go, and the condition limits them to those of the fleet"
_BALANCER = "elasticloadbalancing:DescribeTargetGroups elasticloadbalancing:DescribeTargetHealth"
SEE = (
    Permission("SeeGroup", "autoscaling:DescribeAutoScalingGroups", "{tunnel-group-any}", "the group's members",
               wildcard=_DESCRIBE),
    Permission("SeeTunnels", f"ec2:DescribeInstances {_BALANCER} ssm:GetCommandInvocation", "{tunnels-any}",
               "the members, their health, and what came of a command", wildcard=_DESCRIBE),
    Permission("ReadPrimary", "dynamodb:GetItem", "{primary-record}", "the region of the primary", keys=("primary",),
               wildcard=ANY_REPLICA),
    coordination("PeerReports", "BatchGetItem", "tunnel-reports", why="whether other regions reach the primary"),
    regional("ReadActions", "BatchGetItem", "tunnel-actions", why="the result of a repair"),
)
DRAIN = Permission("Drain", "elasticloadbalancing:DeregisterTargets", "{tunnel-targets}", "out of the balancer",
                   wildcard="AWS adds a random part to the ARN of a target group")
UNDRAIN = Permission("Undrain", "elasticloadbalancing:RegisterTargets", "{tunnel-targets}", "into the balancer",
                     wildcard="AWS adds a random part to the ARN of a target group")
RESTART = (
    Permission("Restart", "ssm:SendCommand", "{tunnel-document}", "restarts a tunnel by this document alone"),
    Permission("RestartThere", "ssm:SendCommand", "{tunnel-instances}", "restarts the tunnels of the fleet's hosts",
               {"StringEquals": {"ssm:resourceTag/{tunnel-tag}": "{tunnel-value}"}}, wildcard=_HOSTS),
)
POINT = Permission("Point", "ssm:PutParameter", "{tunnel-primary-region}", "tells new hosts where the primary is")
REPLACE = Permission("Replace", "autoscaling:TerminateInstanceInAutoScalingGroup", "{tunnel-group}",
                     "replaces a host that a restart did not repair",
                     wildcard="AWS adds a random part to the ARN of a group")
_ON_TAGGED = {"StringEquals": {"aws:ResourceTag/{tunnel-tag}": "{tunnel-value}"}}
STOP = Permission("Power", "ec2:StopInstances", "{tunnel-machines}", "restarts a host that no group replaces",
                  _ON_TAGGED, wildcard=_HOSTS)
POWER = Permission("Power", "ec2:StartInstances ec2:StopInstances", "{tunnel-machines}",
                   "restarts a host that no group replaces", _ON_TAGGED, wildcard=_HOSTS)
REPORT = coordination("Report", "GetItem PutItem", "tunnel-reports", why="tells others whether it reaches the primary")
STATE = regional("Remember", "GetItem PutItem", "tunnels", "tunnel-actions", why="state and claims of repairs")
SEE_STATE = regional("ReadState", "GetItem", "tunnels", why="the state of each member")

ROTATE = (
    Permission("SeeTunnels", f"autoscaling:DescribeAutoScalingGroups {_BALANCER} ssm:GetCommandInvocation",
               "{tunnel-hosts-any}", "every host must have the new key", wildcard=_DESCRIBE),
    Permission("TurnKey", "secretsmanager:DescribeSecret secretsmanager:PutSecretValue "
               "secretsmanager:UpdateSecretVersionStage", "{tunnel-secret}", "the private key of the hosts",
               wildcard="Secrets Manager adds six characters to the name of a secret"),
    Permission("TellKeys", "ssm:GetParameter ssm:PutParameter", "{tunnel-keys}", "gateways read the public keys here"),
    Permission("Reload", "ssm:SendCommand", "{tunnel-hosts-document}", "hosts fetch the key by this document alone"),
    Permission("ReloadThere", "ssm:SendCommand", "{tunnel-hosts-instances}", "the fleet's hosts fetch the key",
               {"StringEquals": {"ssm:resourceTag/{tunnel-tag}": "{tunnel-value}"}}, wildcard=_HOSTS),
    regional("Remember", "GetItem PutItem", "tunnels", why="the step of the rotation, claimed before it acts"),
)

HEALED = Schedule(section="tunnels", does="a minute of rounds over the tunnels", harm="tunnels that break stay broken")
ROTATED = Schedule(section="tunnels.hosts", condition="TunnelsHere", does="go on with a change of key",
                   harm="a change of key that has begun does not go on")

# name, seconds, MB, permissions
LAMBDAS = (
    # Each run hands over to the next one, so two overlap by the rule. A doubled one and one by hand come on top.
    Lambda("tunnels.heal", 320, 512, (*SEE, DRAIN, UNDRAIN, *RESTART, POINT, REPLACE, POWER, REPORT, STATE, *ALERTING),
           trigger=HEALED, private_network=True, handler="controller:handle", reserved=4),
    Lambda("tunnels.status", 30, 256, (*SEE, SEE_STATE), handler="controller:OTHERS"),
    Lambda("tunnels.drain", 30, 256, (*SEE, DRAIN, STATE, *ALERTING), private_network=True,
           handler="controller:OTHERS"),
    Lambda("tunnels.undrain", 30, 256, (*SEE, UNDRAIN, STATE, *ALERTING), private_network=True,
           handler="controller:OTHERS"),
    Lambda("tunnels.replace", 30, 256, (*SEE, REPLACE, STOP, STATE, *ALERTING), private_network=True,
           handler="controller:OTHERS"),
    Lambda("tunnels.rotate_keys", 60, 256, (*ROTATE, *ALERTING), trigger=ROTATED, handler="keys.operation:ROTATE",
           reserved=3),
)
