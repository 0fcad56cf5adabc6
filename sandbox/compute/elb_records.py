"""Reading the emulator's records of Elastic Load Balancing, of any region."""

from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]

# "deregistration_delay.timeout_seconds: the default is 300" and so on: TargetGroupAttribute in the API reference.
_DEFAULTS = {
    "deregistration_delay.timeout_seconds": "300",
    "deregistration_delay.connection_termination.enabled": "false",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
}


def balancers() -> Iterator[tuple[str, Record]]:
    """(region, load balancer) of all."""
    from ministack.services import alb

    return ((key[1], record) for key, record in alb._lbs.all_items())


def listeners(region: str) -> list[tuple[Record, Record]]:
    """(listener, its load balancer) of a region."""
    from ministack.services import alb

    known = {record["LoadBalancerArn"]: record for home, record in balancers() if home == region}
    return [(record, known[record["LoadBalancerArn"]]) for key, record in alb._listeners.all_items()
            if key[1] == region and record["LoadBalancerArn"] in known]


def groups() -> list[Record]:
    """Every target group."""
    from ministack.services import alb

    return list(alb._tgs.all_values())


def forward(listener: Record) -> str:
    """The target group that a listener's default action forwards to. Empty if none."""
    return next((str(action["TargetGroupArn"]) for action in listener["DefaultActions"] if "TargetGroupArn" in action),
                "")


def users(region: str) -> dict[str, Record]:
    """Target group -> the (first) load balancer whose listeners or rules forward to it."""
    from ministack.services import alb

    found: dict[str, Record] = {}
    owners = {listener["ListenerArn"]: balancer for listener, balancer in listeners(region)}
    actions = [(listener["ListenerArn"], listener["DefaultActions"]) for listener, _ in listeners(region)]
    actions += [(rule["ListenerArn"], rule["Actions"]) for rule in alb._rules.all_values()]
    for listener_arn, several in actions:
        for action in several:
            if "TargetGroupArn" in action and listener_arn in owners:
                found.setdefault(action["TargetGroupArn"], owners[listener_arn])
    return found


def region_of(arn: str) -> str:
    """The region that an ARN names."""
    return arn.split(":")[3]


def targets(group: str) -> list[Record]:
    """The registered targets of a group, the draining ones too (they have `_until`). The list itself."""
    from ministack.services import alb

    account = group.split(":")[4]
    found: list[Record] | None = alb._targets.get_scoped(account, region_of(group), group)
    if found is None:
        alb._targets.set_scoped(account, region_of(group), group, found := [])
    return found


def key(group: Record, target: Record) -> str:
    """The identity of a target in its group, "by its ID and port"."""
    return f"{target['Id']}|{target.get('Port', group['Port'])}"


def same(group: Record, one: Record, other: Record) -> bool:
    """Whether two name one target."""
    return key(group, one) == key(group, other)


def enroll(group: Record, asked: list[Record]) -> None:
    """Register targets with a group. One that drains comes back."""
    held = targets(group["TargetGroupArn"])
    for one in asked:
        found = [old for old in held if same(group, old, one)]
        for old in found:
            old.pop("_until", None)
        if not found:
            held.append(one)


def attribute(group: str, name: str) -> str:
    """A target group attribute, or its default."""
    from ministack.services import alb

    held = alb._tg_attrs.get_scoped(group.split(":")[4], region_of(group), group) or ()
    # A template's true may be a boolean by now.
    return next((str(one["Value"]).lower() for one in held if one["Key"] == name), _DEFAULTS[name])
