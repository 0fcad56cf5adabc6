"""One region of AWS in memory: EC2, Auto Scaling, load balancers, Systems Manager, Secrets Manager.

`FakeAws(...).ports` is an `AwsPorts`. The state is public: a test sets up instances, groups and parameters as it likes,
and reads what the calls have changed. `on_change` tells a simulation what to let happen as a consequence.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws.autoscaling import GroupMember
from chalicelib.aws.ec2 import Instance, InstanceState
from chalicelib.aws.functions import Invocation as FunctionInvocation
from chalicelib.aws.ports import AwsPorts
from chalicelib.aws.ssm import Invocation
from testing.route53 import FakeRoute53
from testing.s3 import FakeS3

# Called before and after each effect with the call's name, as in "elb register"; it may wait, or raise.
Fault = Callable[[str], None]
# Called after each change with its name and its subject, as in ("deregistered", "i-0001").
Change = Callable[[str, str], None]


def denied(code: str, call: str = "Call", status: int = 400) -> ClientError:
    """The answer of AWS when it does not do the call."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} it is"},
                        "ResponseMetadata": {"HTTPStatusCode": status}}, call)  # type: ignore[typeddict-item]


def _no_fault(call: str) -> None:
    """Nothing goes wrong."""


def _no_change(change: str, subject: str) -> None:
    """Nobody is interested."""


class FakeInstance:
    """An instance, which may be in an Auto Scaling group, with its `lifecycle` there."""

    __slots__ = ("address", "id", "lifecycle", "public_address", "state", "tags")

    def __init__(self, id: str, address: str = "10.0.0.1", state: InstanceState = "running",
                 lifecycle: str = "InService", tags: Mapping[str, str] | None = None,
                 public_address: str = "") -> None:
        self.id, self.address, self.state, self.lifecycle, self.tags = id, address, state, lifecycle, dict(tags or {})
        self.public_address = public_address


class FakeCommand(msgspec.Struct):
    """A command that was sent, and what is known of it now."""

    id: str
    instance: str
    document: str
    parameters: dict[str, str]
    comment: str
    invocation: Invocation = Invocation("InProgress", "InProgress")


class FakeAws:
    """`groups` has the instance ids of each Auto Scaling group, `target_groups` the state of each target, `secrets` the
    labels of each secret, `commands` all that were sent, by id, `functions` the code of each Lambda. `changes` is what
    was asked for, except for reads.

    A target that is registered is at once `registered_as`. A real one is `initial` until its first checks have ended.

    `s3` is this region's. `route53` is the account's, which several regions may share.

    A call in `denials` raises that error instead, as in `{"elb register": denied("AccessDenied")}`.
    """

    def __init__(self, fault: Fault = _no_fault, on_change: Change = _no_change,
                 route53: FakeRoute53 | None = None) -> None:
        self.fault, self.on_change = fault, on_change
        self.s3, self.route53 = FakeS3(fault), route53 or FakeRoute53(fault)
        self.instances: dict[str, FakeInstance] = {}
        self.groups: dict[str, list[str]] = {}
        self.target_groups: dict[str, dict[str, str]] = {}
        self.registered_as = "healthy"
        self.commands: dict[str, FakeCommand] = {}
        self.parameters: dict[str, str] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.secret_values: dict[str, str] = {}
        self.functions: dict[str, Callable[[bytes], FunctionInvocation]] = {}
        self.changes: list[tuple[str, str]] = []
        self.denials: dict[str, Exception] = {}
        self.numbers = count(1)
        self.ports = AwsPorts(FakeEc2(self), FakeElb(self), FakeAutoScaling(self), FakeSsm(self), FakeSecrets(self),
                              self.s3, self.route53, FakeFunctions(self))

    def before(self, call: str, subject: str = "", details: Mapping[str, str] | None = None) -> None:
        """A call begins. One with a `subject` is to change it."""
        if subject:
            self.changes.append((call, subject))
        self.fault(call)
        if call in self.denials:
            raise self.denials[call]

    def after(self, call: str, change: str = "", subject: str = "") -> None:
        """A call has had its effect."""
        if change:
            self.on_change(change, subject)
        self.fault(call)


class FakeFunctions:
    """`chalicelib.aws.functions.Functions`."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def invoke(self, function: str, payload: bytes, *, wait_seconds: float) -> FunctionInvocation:
        self._aws.before("lambda invoke", function)
        if function not in self._aws.functions:
            raise denied("ResourceNotFoundException", "Invoke", 404)
        ended = self._aws.functions[function](payload)
        self._aws.after("lambda invoke", "invoked", function)
        return ended


class FakeEc2:
    """`chalicelib.aws.ec2.Ec2`."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        self._aws.before("ec2 instances")
        there = self._aws.instances
        found = {id: _described(there[id]) for id in ids if id in there}
        self._aws.after("ec2 instances")
        return found

    def tagged(self, key: str, value: str) -> Mapping[str, Instance]:
        self._aws.before("ec2 tagged")
        found = {one.id: _described(one) for one in self._aws.instances.values()
                 if one.tags.get(key) == value}
        self._aws.after("ec2 tagged")
        return found

    def stop(self, instance: str) -> None:
        self._aws.before("ec2 stop", instance)
        self._running(instance, "StopInstances").state = "stopping"
        self._aws.after("ec2 stop", "stopping", instance)

    def start(self, instance: str) -> None:
        self._aws.before("ec2 start", instance)
        self._running(instance, "StartInstances").state = "running"
        self._aws.after("ec2 start", "started", instance)

    def _running(self, instance: str, call: str) -> FakeInstance:
        found = self._aws.instances.get(instance)
        if found is None:
            raise denied("InvalidInstanceID.NotFound", call)
        if found.state in ("shutting-down", "terminated"):
            raise denied("IncorrectInstanceState", call)
        return found


def _described(one: FakeInstance) -> Instance:
    return Instance(one.id, one.state, one.address, one.public_address)


class FakeElb:
    """`chalicelib.aws.elb.Elb`. A target that is registered is healthy at once, and gone as soon as deregistered."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def targets(self, group: str) -> Mapping[str, str]:
        self._aws.before("elb targets")
        found = dict(self._group(group, "DescribeTargetHealth"))
        self._aws.after("elb targets")
        return found

    def register(self, group: str, instance: str) -> None:
        self._aws.before("elb register", instance)
        targets, machine = self._group(group, "RegisterTargets"), self._aws.instances.get(instance)
        if machine is None or machine.state != "running":
            raise denied("InvalidTarget", "RegisterTargets")
        targets.setdefault(instance, self._aws.registered_as)
        self._aws.after("elb register", "registered", instance)

    def deregister(self, group: str, instance: str) -> None:
        self._aws.before("elb deregister", instance)
        was_there = self._group(group, "DeregisterTargets").pop(instance, None)
        self._aws.after("elb deregister", "deregistered" if was_there else "", instance)

    def _group(self, group: str, call: str) -> dict[str, str]:
        if group not in self._aws.target_groups:
            raise denied("TargetGroupNotFound", call)
        return self._aws.target_groups[group]


class FakeAutoScaling:
    """`chalicelib.aws.autoscaling.AutoScaling`. Nothing is launched by itself: that is up to `on_change`."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def members(self, group: str) -> tuple[GroupMember, ...] | None:
        self._aws.before("autoscaling members")
        ids = self._aws.groups.get(group)
        found = None if ids is None else tuple(GroupMember(id, self._aws.instances[id].lifecycle) for id in ids)
        self._aws.after("autoscaling members")
        return found

    def terminate(self, instance: str) -> None:
        self._aws.before("autoscaling terminate", instance)
        machine = self._aws.instances.get(instance)
        if machine is None or machine.state in ("shutting-down", "terminated"):
            raise denied("ValidationError", "TerminateInstanceInAutoScalingGroup")
        machine.state, machine.lifecycle = "shutting-down", "Terminating"
        self._aws.after("autoscaling terminate", "terminating", instance)


class FakeSsm:
    """`chalicelib.aws.ssm.Ssm`. A command is in progress until somebody gives it another `invocation`."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def send_command(
        self, instance: str, document: str, parameters: Mapping[str, str], *, timeout_seconds: int, comment: str = ""
    ) -> str:
        self._aws.before("ssm send_command", instance, parameters)
        machine = self._aws.instances.get(instance)
        if machine is None or machine.state != "running":
            raise denied("InvalidInstanceId", "SendCommand")
        if timeout_seconds < 30:
            raise denied("ValidationException", "SendCommand")
        id = f"command-{next(self._aws.numbers)}"
        self._aws.commands[id] = FakeCommand(id, instance, document, dict(parameters), comment)
        self._aws.after("ssm send_command", "command", id)
        return id

    def invocation(self, command: str, instance: str) -> Invocation:
        self._aws.before("ssm invocation")
        found = self._aws.commands.get(command)
        if found is None or found.instance != instance:
            raise denied("InvocationDoesNotExist", "GetCommandInvocation")
        self._aws.after("ssm invocation")
        return found.invocation

    def parameter(self, name: str) -> str | None:
        self._aws.before("ssm parameter")
        found = self._aws.parameters.get(name)
        self._aws.after("ssm parameter")
        return found

    def put_parameter(self, name: str, value: str) -> None:
        self._aws.before("ssm put_parameter", value)
        self._aws.parameters[name] = value
        self._aws.after("ssm put_parameter", "parameter", name)


class FakeSecrets:
    """`chalicelib.aws.secrets.Secrets`."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def labels(self, secret: str) -> Mapping[str, str] | None:
        self._aws.before("secrets labels")
        found = self._aws.secrets.get(secret)
        self._aws.after("secrets labels")
        return None if found is None else dict(found)

    def put(self, secret: str, version: str, value: str, label: str) -> None:
        self._aws.before("secrets put", version)
        labels = self._labels(secret)
        labels[label] = version
        # "If this operation creates the first version, Secrets Manager attaches AWSCURRENT": PutSecretValue.
        labels.setdefault("AWSCURRENT", version)
        self._aws.secret_values[version] = value
        self._aws.after("secrets put", "secret", version)

    def move_label(self, secret: str, label: str, *, to: str = "", from_: str = "") -> None:
        self._aws.before("secrets move_label", to or from_)
        labels = self._labels(secret)
        if from_ and labels.get(label) != from_:
            raise denied("InvalidParameterException", "UpdateSecretVersionStage")
        if to and label == "AWSCURRENT" and label in labels:
            # "If you move AWSCURRENT, Secrets Manager automatically moves AWSPREVIOUS": UpdateSecretVersionStage.
            labels["AWSPREVIOUS"] = labels[label]
        if to:
            labels[label] = to
        else:
            labels.pop(label, None)
        self._aws.after("secrets move_label", "label", to or from_)

    def _labels(self, secret: str) -> dict[str, str]:
        if secret not in self._aws.secrets:
            raise denied("ResourceNotFoundException", "SecretsManager")
        return self._aws.secrets[secret]
