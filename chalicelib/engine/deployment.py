"""A capability's declaration of its Lambdas, with trigger, time-out, memory, network and permissions.

    LAMBDAS = (Lambda("tunnels.status", timeout_seconds=30, memory_mb=256, permissions=(ALERT,)),)

The module `lambdas` of each capability holds these values beside the code that they are about. The files in .chalice/
and the rules and alarms of the stack are generated from them. A Lambda finds its own code by them when it starts.
"""

from typing import Any

import msgspec

Json = dict[str, Any]

MINUTE = "cron(* * * * ? *)"


class Permission(msgspec.Struct, frozen=True):
    """One statement of a Lambda's policy.

    `resource` is what the policy names: an ARN, several of them, or a `{placeholder}` for what fleet.toml declares.
    """

    sid: str
    actions: tuple[str, ...]
    resource: str | Json | list[Json]
    condition: Json | None = None


class Schedule(msgspec.Struct, frozen=True):
    """A rule of EventBridge, with an alarm when two of three runs fail.

    `description` completes "Each minute: ...". `failing` tells people what a failure means. Without the table `section`
    of fleet.toml there is no rule.
    """

    expression: str
    description: str
    failing: str
    section: str

    @property
    def seconds(self) -> int:
        """From one run to the next."""
        return 60 if self.expression == MINUTE else 3600


class Lambda(msgspec.Struct, frozen=True, kw_only=True):
    """One Lambda: `schedules.tick` is the function `schedules_tick`.

    `handler` is `module:name` within the capability. The name stands for a function of event and context, for an
    operation, or for several of which the one with this name is taken. With `private_network` it runs in the VPC that
    fleet.toml gives, because it must reach tunnels or databases. Without a `trigger` it is invoked by people, by a
    queue, or by a rule that .chalice/resources.json holds.
    """

    name: str
    timeout_seconds: int
    memory_mb: int
    permissions: tuple[Permission, ...] = ()
    trigger: Schedule | None = None
    private_network: bool = False
    handler: str = "operations:ALL"

    @property
    def function(self) -> str:
        """The last part of the Lambda's name in AWS, and its entry point in app.py."""
        return self.name.replace(".", "_")


def arn(service: str, resource: str, region: str = "${AWS::Region}") -> Json:
    """An ARN of the stack's account."""
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:{region}:${{AWS::AccountId}}:{resource}"}


def queue(name: str) -> Json:
    """The ARN of one of the stack's own queues."""
    return arn("sqs", f"${{AWS::StackName}}-{name}")


REGIONAL_TABLE = arn("dynamodb", "table/${AWS::StackName}")
COORDINATION_TABLE = arn("dynamodb", "table/${AWS::StackName}-coordination", region="*")
ALERT = Permission("Alert", ("sns:Publish",), arn("sns", "${AWS::StackName}-alerts"))
JOURNAL = Permission("Journal", ("dynamodb:PutItem",), REGIONAL_TABLE)
