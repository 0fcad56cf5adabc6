"""How a capability declares its Lambdas, with trigger, time-out, memory, network and permissions of each.

    LAMBDAS = (Lambda("tunnels.status", 30, 256, (SEE_GROUP, regional("Read", "GetItem", "tunnels", why="its state"))),)

The module `lambdas` of each capability holds one such row for each Lambda. `chalicelib/infrastructure/` compiles the
rows into the files of .chalice/, and a Lambda finds its own code by its row when it starts.
"""

from typing import Any

import msgspec

Json = dict[str, Any]

MINUTE = "cron(* * * * ? *)"


class Permission(msgspec.Struct, frozen=True):
    """One statement of a Lambda's policy, and `why` the Lambda needs it.

    `actions` are separated by spaces. `resource` is what the policy names: an ARN, several of them, or a
    `{placeholder}` for what fleet.toml declares. `keys` limits it to items of a table with these partition keys, where
    `*` stands for any text. `wildcard` says why a resource that stands for more than one thing cannot be narrower.
    """

    sid: str
    actions: str
    resource: str | Json | list[Json]
    why: str
    condition: Json | None = None
    keys: tuple[str, ...] = ()
    wildcard: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of EventBridge, with an alarm when runs fail and another when none begins.

    `does` completes "Each minute: ...". `harm` completes "tunnels_heal fails: ...". Without the table `section` of
    fleet.toml (`tunnels.hosts` for one within another) there is no rule. A `condition` of the template may leave out
    regions. A run that fails is tried again `retries` times, if it is not older than `expires_seconds`.
    """

    expression: str = MINUTE
    does: str
    harm: str
    section: str = ""
    condition: str = ""
    retries: int = 0
    expires_seconds: int = 60

    @property
    def seconds(self) -> int:
        """From one run to the next."""
        return 60 if self.expression == MINUTE else 3600


class OwnQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue of the stack's own, its dead letters, and the mapping that starts the Lambda with its messages.

    `harm` completes "Nobody serves schedule-runs: ...". A message is hidden for `visibility_seconds` once it is
    received, and is a dead letter after `most_receives`.
    """

    name: str
    harm: str
    batch: int
    visibility_seconds: int
    most_receives: int


class FleetQueues(msgspec.Struct, frozen=True):
    """The queues of the tables [[queues]] of fleet.toml. `harm` completes "Nobody serves default: ..."."""

    harm: str


class Invoked(msgspec.Struct, frozen=True):
    """Other Lambdas of the stack invoke it, and wait for its answer. They tell how it fails. An alarm tells when
    it does not begin.
    """


Trigger = Schedule | OwnQueue | FleetQueues | Invoked


class Lambda(msgspec.Struct, frozen=True):
    """One Lambda: `schedules.tick` is the function `schedules_tick`.

    `handler` is `module:name` within the capability. The name stands for a function of event and context, for an
    operation, or for several of which the one with this name is taken. With `private_network` it runs in the VPC that
    fleet.toml gives, because it must reach tunnels or databases. Without a `trigger` only people invoke it.

    `reserved` runs at a time are kept free for it, so that long jobs cannot starve it. AWS refuses the next one.

    AWS stops a chain of messages when it has invoked a function about 16 times. `loops_until` says what ends the chains
    of this one, which AWS then does not stop.
    """

    name: str
    timeout_seconds: int
    memory_mb: int
    permissions: tuple[Permission, ...]
    trigger: Trigger | None = None
    private_network: bool = False
    handler: str = "operations:ALL"
    loops_until: str = ""
    reserved: int = 0

    @property
    def function(self) -> str:
        """The last part of the Lambda's name in AWS, and its entry point in app.py."""
        return self.name.replace(".", "_")


def arn(service: str, resource: str, region: str = "${AWS::Region}") -> Json:
    """An ARN of the stack's account."""
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:{region}:${{AWS::AccountId}}:{resource}"}


def function(name: str) -> Json:
    """The ARN of one of the stack's own Lambdas."""
    return arn("lambda", f"function:${{AWS::StackName}}-{name}")


def queue(name: str) -> Json:
    """The ARN of one of the stack's own queues."""
    return arn("sqs", f"${{AWS::StackName}}-{name}")


REGIONAL_TABLE = arn("dynamodb", "table/${AWS::StackName}")
# In any region: the replica of the own region answers first, and another one when that does not.
ANY_REPLICA = "one table, whose replica in any region may be the one that answers"
COORDINATION_TABLE = arn("dynamodb", "table/${AWS::StackName}-coordination", region="*")


def regional(sid: str, actions: str, *keys: str, why: str) -> Permission:
    """These actions of DynamoDB (`GetItem PutItem`) on items of the regional table with these partition keys."""
    return Permission(sid, _of_dynamodb(actions), REGIONAL_TABLE, why, keys=keys)


def coordination(sid: str, actions: str, *keys: str, why: str) -> Permission:
    """The same of the coordination table."""
    return Permission(sid, _of_dynamodb(actions), COORDINATION_TABLE, why, keys=keys, wildcard=ANY_REPLICA)


def _of_dynamodb(actions: str) -> str:
    return " ".join(f"dynamodb:{action}" for action in actions.split())


# What the engine does for every operation that acts, and for one that alerts.
PUBLISH = Permission("Alert", "sns:Publish", arn("sns", "${AWS::StackName}-alerts"), "alerts reach people")
JOURNAL = regional("Journal", "PutItem", "journal#*", why="every action is recorded before it is done")
ALERTS = regional("Alerts", "GetItem PutItem", "alerts", why="an alert is told once, and until it is delivered")
ALERTING = (PUBLISH, JOURNAL, ALERTS)
