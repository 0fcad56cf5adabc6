"""The Elastic Load Balancing API over real targets, registered by id and port, draining, and with the health of real
probes."""

import ipaddress
from typing import Any
from xml.sax.saxutils import escape

from sandbox.compute import elb_records as records
from sandbox.compute.actions import Answer, Handler, Parameters, handler, text
from sandbox.compute.elb_checks import LEVEL_4, attribute_problem, problem, with_defaults
from sandbox.compute.elb_records import Record
from sandbox.emulator_patches import Context, change

_FORWARD = "{}.member.{}.ForwardConfig.TargetGroups.member.{}.TargetGroupArn"
_ONE = "the sandbox's balancers forward to one target group"


@handler("alb", "_create_tg", "CreateTargetGroup", "params",
         "a TCP group has checks by TCP unless it says otherwise, and the sandbox refuses as AWS does")
def create_group(original: Handler, context: Context) -> Handler:
    def create(params: Parameters) -> Answer:
        full = with_defaults({name: text(params, name) for name in params})
        if full.get("Protocol") in LEVEL_4:
            full = {"Matcher.HttpCode": "200-399"} | full
        bad = problem(full, full.get("Matcher.HttpCode", ""))
        return _invalid(bad) if bad else original({name: [value] for name, value in full.items()})

    return create


@handler("alb", "_describe_tgs", "DescribeTargetGroups", "params", "a name that no group has is refused, as by AWS")
def describe_groups(original: Handler, context: Context) -> Handler:
    from ministack.services import alb

    def describe(params: Parameters) -> Answer:
        known = {group["TargetGroupName"] for group in alb._tgs.values()}
        if any(name not in known for name in alb._parse_member_list(params, "Names")):
            refused: Answer = alb._error("TargetGroupNotFound", "One or more target groups not found", 400)
            return refused
        return original(params)

    return describe


@handler("alb", "_modify_tg", "ModifyTargetGroup", "params", "the sandbox refuses a change that AWS refuses")
def modify_group(original: Handler, context: Context) -> Handler:
    def modify(params: Parameters) -> Answer:
        bad = problem({name: text(params, name) for name in params}, text(params, "Matcher.HttpCode"))
        return _invalid(bad) if bad else original(params)

    return modify


@handler("alb", "_modify_tg_attrs", "ModifyTargetGroupAttributes", "params", "attributes have the values of the API")
def modify_attributes(original: Handler, context: Context) -> Handler:
    def modify(params: Parameters) -> Answer:
        names = [name for name in params if name.endswith(".Key")]
        bad = attribute_problem({"Key": text(params, name), "Value": text(params, name[:-3] + "Value")}
                                for name in names)
        return _invalid(bad) if bad else original(params)

    return modify


def _invalid(why: str) -> Answer:
    from ministack.services import alb

    return alb._error("ValidationError", why)  # type: ignore[no-any-return]


def _checked(props: Record) -> Record:
    """A template's properties with defaults. ValueError, which fails the stack, for what AWS refuses."""
    full = with_defaults(props)
    if full.get("Protocol") in LEVEL_4:
        full = {"Matcher": {"HttpCode": "200-399"}} | full
    attributes = [one | {"Value": str(one.get("Value")).lower()} for one in full.get("TargetGroupAttributes") or ()]
    if bad := problem(full, str((full.get("Matcher") or {}).get("HttpCode", ""))) or attribute_problem(attributes):
        raise ValueError(f"AWS::ElasticLoadBalancingV2::TargetGroup: {bad}")
    return full


@change("services.cloudformation.provisioners", "_elbv2_target_group_create", "logical_id props stack_name",
        "a TCP group of a template has checks by TCP unless it says otherwise")
def stack_create(original: Any, context: Context) -> Any:
    from ministack.services.cloudformation import provisioners

    def create(logical_id: str, props: Record, stack_name: str) -> Any:
        return original(logical_id, _checked(props), stack_name)

    provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::TargetGroup"]["create"] = create
    return create


@change("services.cloudformation.provisioners", "_elbv2_target_group_update",
        "physical_id old_props new_props stack_name logical_id", "a changed TCP group keeps its check by TCP")
def stack_update(original: Any, context: Context) -> Any:
    from ministack.services.cloudformation import provisioners

    def update(
        physical_id: str, old_props: Record, new_props: Record, stack_name: str, logical_id: str | None = None
    ) -> Any:
        return original(physical_id, old_props, _checked(new_props), stack_name, logical_id)

    provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::TargetGroup"]["update"] = update
    return update


@change("services.alb", "_parse_actions", "params prefix", "an action may name its target group in ForwardConfig")
def forwards(original: Any, context: Context) -> Any:
    def parse(params: Parameters, prefix: str = "DefaultActions") -> list[Record]:
        actions: list[Record] = original(params, prefix)
        for number, action in enumerate(actions, 1):
            if named := text(params, _FORWARD.format(prefix, number, 1)):
                action.setdefault("TargetGroupArn", named)
        return actions

    return parse


def _single(original: Handler) -> Handler:
    def answer(params: Parameters) -> Answer:
        return _invalid(_ONE) if text(params, _FORWARD.format("DefaultActions", 1, 2)) else original(params)

    return answer


@handler("alb", "_create_listener", "CreateListener", "params", "a listener forwards to one target group, and the "
                                                                "sandbox refuses others")
def create_listener(original: Handler, context: Context) -> Handler:
    return _single(original)


@handler("alb", "_modify_listener", "ModifyListener", "params", "a listener forwards to one target group, and the "
                                                                "sandbox refuses others")
def modify_listener(original: Handler, context: Context) -> Handler:
    return _single(original)


@change("services.cloudformation.provisioners", "_elbv2_listener_actions", "props lb_arn prop",
        "a template's listener forwards to one target group, and the sandbox refuses others")
def stack_actions(original: Any, context: Context) -> Any:
    def actions(props: Record, lb_arn: str, prop: str = "DefaultActions") -> Any:
        if not 1 <= int(props.get("Port") or 80) <= 65535:
            raise ValueError(f"AWS::ElasticLoadBalancingV2::Listener: {props['Port']} is no port")
        for action in props.get(prop) or ():
            if len((action.get("ForwardConfig") or {}).get("TargetGroups") or ()) > 1:
                raise ValueError(f"AWS::ElasticLoadBalancingV2::Listener: {_ONE}")
        return original(props, lb_arn, prop)

    return actions


def _group(params: Parameters) -> tuple[Record | None, Answer | None]:
    from ministack.services import alb

    arn = text(params, "TargetGroupArn")
    if arn not in alb._tgs:
        return None, alb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")
    return alb._tgs[arn], None


def _asked(params: Parameters) -> list[Record]:
    from ministack.services import alb

    found: list[Record] = alb._parse_targets_param(params)
    return found


@handler("alb", "_register_targets", "RegisterTargets", "params",
         "a target is an id and a port of a running instance, and registering ends draining")
def register(original: Handler, context: Context) -> Handler:
    def register_targets(params: Parameters) -> Answer:
        from ministack.services import alb

        group, error = _group(params)
        if group is None:
            return error  # type: ignore[return-value] # one of the two is always there
        asked = _asked(params)
        odd = [one["Id"] for one in asked if group["TargetType"] == "ip" and not _is_address(one["Id"])]
        if odd:
            return _invalid(f"The IP address '{odd[0]}' is not a valid IPv4 address")
        bad = [one["Id"] for one in asked if not _fit(group, one, context)]
        if bad:
            message = f"The following targets are not in a running state and cannot be registered: '{', '.join(bad)}'"
            return alb._error("InvalidTarget", message)  # type: ignore[no-any-return]
        records.enroll(group, asked)
        context.hypervisor.run.wake()
        return alb._empty("RegisterTargets")  # type: ignore[no-any-return]

    return register_targets


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _fit(group: Record, target: Record, context: Context) -> bool:
    return group["TargetType"] != "instance" or context.hypervisor.instances.state(target["Id"]) == "running"


@handler("alb", "_deregister_targets", "DeregisterTargets", "params", "a target drains before it is gone")
def deregister(original: Handler, context: Context) -> Handler:
    def deregister_targets(params: Parameters) -> Answer:
        from ministack.services import alb

        group, error = _group(params)
        if group is None:
            return error  # type: ignore[return-value] # one of the two is always there
        for one in _asked(params):
            for held in list(records.targets(group["TargetGroupArn"])):
                # "If you specified a port override when you registered a target, you must specify both".
                if records.same(group, held, one):
                    context.hypervisor.balancers.deregister(group["TargetGroupArn"], held)
        return alb._empty("DeregisterTargets")  # type: ignore[no-any-return]

    return deregister_targets


@handler("alb", "_describe_target_health", "DescribeTargetHealth", "params", "health is what probes found")
def health(original: Handler, context: Context) -> Handler:
    def describe(params: Parameters) -> Answer:
        from ministack.services import alb

        group, error = _group(params)
        if group is None or group["TargetType"] in ("lambda", "alb"):
            return error or original(params)
        held, asked = records.targets(group["TargetGroupArn"]), _asked(params)
        shown = [one for one in held if not asked or any(records.same(group, one, other) for other in asked)]
        lines = [_described(group, one, context.hypervisor.balancers.health(group, one)) for one in shown]
        lines += [_described(group, one, ("unused", "Target.NotRegistered", "Target is not registered"))
                  for one in asked if not any(records.same(group, one, other) for other in held)]
        inner = f"<TargetHealthDescriptions>{''.join(lines)}</TargetHealthDescriptions>"
        return alb._xml(200, "DescribeTargetHealth", inner)  # type: ignore[no-any-return]

    return describe


def _described(group: Record, target: Record, found: tuple[str, str, str]) -> str:
    port = target.get("Port", group["Port"])
    check = port if group["HealthCheckPort"] == "traffic-port" else group["HealthCheckPort"]
    state, reason, why = found
    words = f"<Reason>{reason}</Reason><Description>{escape(why)}</Description>" if reason else ""
    return (f"<member><Target><Id>{target['Id']}</Id><Port>{port}</Port></Target>"
            f"<HealthCheckPort>{check}</HealthCheckPort>"
            f"<TargetHealth><State>{state}</State>{words}</TargetHealth></member>")
