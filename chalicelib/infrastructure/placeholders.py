"""The values of `{...}` in the policies of .chalice/policies/, by what fleet.toml declares. Pure.

Each is a list of ARNs, or `*` for calls without a resource (`-any`), by AWS's service authorization reference. An
undeclared part of fleet.toml is empty, and a statement without a resource is left out.
"""

from collections.abc import Iterable
from typing import Any

from chalicelib.config import tunnel_hosts as host
from chalicelib.config import tunnels as config
from chalicelib.config.declared import Fleet
from chalicelib.engine.deployment import COORDINATION_TABLE, function, queue
from chalicelib.engine.deployment import arn as _arn
from chalicelib.infrastructure import networks, queues
from chalicelib.infrastructure.parts import Json
from chalicelib.routing import evacuation_flags
from chalicelib.tasks.lambdas import RUNNER as TASK_RUNNER


def resources(fleet: Fleet) -> dict[str, Any]:
    """All of them."""
    return {**_queues(fleet), **_schedules(fleet), **_routing(fleet), **_tunnels(fleet), **_databases(fleet),
            "network-any": "*" if networks.declared(fleet) else []}


def tags(fleet: Fleet) -> dict[str, tuple[str, Any]]:
    """The tag (key, value) that instances must carry: `tunnel` for its hosts, `ssm` for those of jobs with on=ssm."""
    found: dict[str, tuple[str, Any]] = {}
    if tunnels := fleet.tunnels:
        key, _, value = (tunnels.tag or "").partition("=")
        # Auto Scaling tags the instances of a group, and nobody else can set a tag that begins with `aws:`.
        group = tunnels.group or {"Fn::Sub": config.managed_name("${AWS::StackName}")}
        found["tunnel"] = (key, value) if key else ("aws:autoscaling:groupName", group)
    if ssm := fleet.schedules.ssm:
        found["ssm"] = (ssm.tag, ssm.value)
    return found


def _queues(fleet: Fleet) -> dict[str, Any]:
    tasks = {queues.queue_name(queue) for queue in fleet.queues}
    dead = {queues.dead_name(fleet, queue) for queue in fleet.queues}
    own = set(queues.own_names())
    own_dead = {name for name in own if name.endswith("-dead")}
    is_shared = fleet.tasks.isolation == "shared"
    return {
        "task-runner": [] if is_shared else [function(TASK_RUNNER)],
        "shared-task-queues": _queue_arns(tasks) if is_shared else [],
        "task-queues": _queue_arns(tasks), "task-dead": _queue_arns(dead),
        "all-live": _queue_arns(tasks | own - own_dead), "all-dead": _queue_arns(dead | own_dead),
        "all-queues": _queue_arns(tasks | dead | own),
    }


def _queue_arns(names: Iterable[str]) -> list[Json]:
    return [queue(name) for name in sorted(names)]


def _schedules(fleet: Fleet) -> dict[str, Any]:
    ecs, ssm = fleet.schedules.ecs, fleet.schedules.ssm
    return {
        "ecs-definition": [_arn("ecs", f"task-definition/{ecs.task_definition.partition(':')[0]}:*")] if ecs else [],
        "ecs-tasks": [_arn("ecs", f"task/{ecs.cluster}/*")] if ecs else [],
        "ecs-roles": [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{role}"}
                      for role in ecs.roles] if ecs else [],
        "ssm-document": [{"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-RunShellScript"}]
        if ssm else [],
        "ssm-instances": [_arn("ec2", "instance/*"), _arn("ssm", "managed-instance/*")] if ssm else [],
        "ssm-any": "*" if ssm else [],
    }


def _routing(fleet: Fleet) -> dict[str, Any]:
    routing, hosts = fleet.routing, fleet.health_checks
    buckets = sorted(filter(None, (evacuation_flags.flag_bucket(fleet, region.name)
                                   for region in fleet.regions))) if routing else []
    return {
        "zone": [_global("route53", f"hostedzone/{routing.zone}")] if routing else [],
        "checks": [_global("route53", "healthcheck/*")] if routing or hosts else [],
        "checks-any": "*" if routing or hosts else [], "hosts-any": "*" if hosts else [],
        "mark-buckets": [_global("s3", name) for name in buckets],
        "marks": [_global("s3", f"{name}/evacuated/*") for name in buckets],
        "region-checks": [COORDINATION_TABLE] if routing and hosts else [],
    }


def _tunnels(fleet: Fleet) -> dict[str, Any]:
    tunnels = fleet.tunnels
    if tunnels is None:
        return {name: [] for name in (
            "tunnels-any", "tunnel-group", "tunnel-group-any", "tunnel-targets", "tunnel-document", "primary-record",
            "tunnel-instances", "tunnel-machines", "tunnel-secret", "tunnel-keys", "tunnel-primary-region",
            "tunnel-hosts-any", "tunnel-hosts-document", "tunnel-hosts-instances")}
    stack = "${AWS::StackName}"
    shipped = config.managed_name(stack)
    group, hosts = tunnels.group or shipped, tunnels.hosts is not None
    ways = host.primary_routes(tunnels.hosts, tunnels.primary) if tunnels.hosts else ()
    return {
        "tunnels-any": "*",
        "tunnel-group": [] if tunnels.tag else [
            _arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{group}")],
        "tunnel-group-any": [] if tunnels.tag else "*",
        "tunnel-targets": [_arn("elasticloadbalancing", f"targetgroup/{tunnels.target_group or shipped}/*")],
        "tunnel-document": [_arn("ssm", f"document/{tunnels.document or shipped}")],
        "tunnel-instances": [_arn("ec2", "instance/*")],
        "tunnel-machines": [_arn("ec2", "instance/*")] if tunnels.tag else [],
        "tunnel-secret": [_arn("secretsmanager", f"secret:{host.private_key_secret(stack)}-??????")] if hosts else [],
        # Each region tells its own keys, in each region that has a gateway.
        "tunnel-keys": [_arn("ssm", f"parameter{host.public_keys_parameter(stack, '${AWS::Region}')}", way.region)
                        for way in ways],
        # Where the hosts are to lead, if they know more than one way.
        "tunnel-primary-region": [_arn("ssm", f"parameter{host.primary_region_parameter(stack)}")] if ways[1:] else [],
        # Keys are changed on the shipped hosts alone.
        "tunnel-hosts-any": "*" if hosts else [],
        "tunnel-hosts-document": [_arn("ssm", f"document/{shipped}")] if hosts else [],
        "tunnel-hosts-instances": [_arn("ec2", "instance/*")] if hosts else [],
        "primary-record": [COORDINATION_TABLE] if fleet.databases else [],
    }


def _databases(fleet: Fleet) -> dict[str, Any]:
    databases = fleet.databases
    admin = databases.admin_secret if databases else None
    # Secrets Manager adds a hyphen and six characters of its own to a secret's name.
    return {
        "database-secret": [_arn("secretsmanager", f"secret:{databases.secret}-??????")] if databases else [],
        "admin-secret": [_arn("secretsmanager", f"secret:{admin}-??????")] if admin else [],
    }


def _global(service: str, rest: str) -> Json:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:::{rest}"}
