"""The Elastic Load Balancing API over real targets: registered by id and port, draining, healthy as probes found."""

from typing import Any
from xml.sax.saxutils import escape

from sandbox.hypervisor import elb_records as records
from sandbox.hypervisor.actions import Answer, Handler, Parameters, handler, text
from sandbox.hypervisor.elb_records import Record
from sandbox.patches import Context, change

_LEVEL_4 = ("TCP", "TLS", "UDP", "TCP_UDP")


def check_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """`given` with the health check of a TCP group where it says none: CreateTargetGroup in the API reference.

    The protocol is TCP; the time-out ten seconds, for HTTP six; any success is one to a network balancer's HTTP check.
    """
    if given.get("Protocol") not in _LEVEL_4:
        return given
    web = given.get("HealthCheckProtocol") in ("HTTP", "HTTPS")
    return {"HealthCheckProtocol": "TCP", "HealthCheckTimeoutSeconds": "6" if web else "10"} | given


@handler("alb", "_create_tg", "CreateTargetGroup", "params", "a TCP group is checked by TCP unless it says otherwise")
def create_group(original: Handler, context: Context) -> Handler:
    def create(params: Parameters) -> Answer:
        flat = {name: text(params, name) for name in params}
        full = check_defaults(flat)
        if full.get("Protocol") in _LEVEL_4:
            full = {"Matcher.HttpCode": "200-399"} | full
        return original({name: [value] for name, value in full.items()})

    return create


@change("services.cloudformation.provisioners", "_elbv2_target_group_create", "logical_id props stack_name",
        "a TCP group of a template is checked by TCP unless it says otherwise")
def stack_group(original: Any, context: Context) -> Any:
    from ministack.services.cloudformation import provisioners

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        full = check_defaults(props)
        if full.get("Protocol") in _LEVEL_4:
            full = {"Matcher": {"HttpCode": "200-399"}} | full
        return original(logical_id, full, stack_name)

    provisioners._RESOURCE_HANDLERS["AWS::ElasticLoadBalancingV2::TargetGroup"]["create"] = create
    return create


@change("services.alb", "_parse_actions", "params prefix", "an action may name its target group in ForwardConfig")
def forwards(original: Any, context: Context) -> Any:
    def parse(params: Parameters, prefix: str = "DefaultActions") -> list[Record]:
        actions: list[Record] = original(params, prefix)
        for number, action in enumerate(actions, 1):
            named = f"{prefix}.member.{number}.ForwardConfig.TargetGroups.member.1.TargetGroupArn"
            if text(params, named):
                action.setdefault("TargetGroupArn", text(params, named))
        return actions

    return parse


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
         "a target is an id and a port; instances must run; registering ends draining")
def register(original: Handler, context: Context) -> Handler:
    def register_targets(params: Parameters) -> Answer:
        from ministack.services import alb

        group, error = _group(params)
        if group is None:
            return error  # type: ignore[return-value] # one of the two is always there
        asked = _asked(params)
        bad = [one["Id"] for one in asked if not _fit(group, one, context)]
        if bad:
            message = f"The following targets are not in a running state and cannot be registered: '{', '.join(bad)}'"
            return alb._error("InvalidTarget", message)  # type: ignore[no-any-return]
        records.enroll(group, asked)
        context.hypervisor.run.wake()
        return alb._empty("RegisterTargets")  # type: ignore[no-any-return]

    return register_targets


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
