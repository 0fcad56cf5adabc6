"""The values of `{...}` in the policies of routing, health checks, tunnels and databases. Pure.

Each is a list of ARNs, or `*` for calls without a resource (`-any`), by AWS's service authorization reference. An
undeclared part of fleet.toml is empty, and a statement without a resource is left out.
"""

from typing import Any

from chalicelib.config.fleet import Fleet
from chalicelib.routing import evacuation_flags
from chalicelib.tunnels import config
from chalicelib.tunnels import config_hosts as host
from commands.deploy import networks

Json = dict[str, Any]


def placeholders(fleet: Fleet) -> dict[str, Any]:
    """All of them."""
    return {**_routing(fleet), **_tunnels(fleet), **_databases(fleet),
            "network-any": "*" if networks.declared(fleet) else []}


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
        "verdicts": [_table()] if routing and hosts else [],
    }


def _tunnels(fleet: Fleet) -> dict[str, Any]:
    tunnels = fleet.tunnels
    if tunnels is None:
        return {name: [] for name in (
            "tunnels-any", "tunnel-group", "tunnel-group-any", "tunnel-targets", "tunnel-document", "throne",
            "tunnel-instances", "tunnel-machines", "tunnel-secret", "tunnel-keys", "tunnel-lead", "tunnel-hosts-any",
            "tunnel-hosts-document", "tunnel-hosts-instances")}
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
        "tunnel-lead": [_arn("ssm", f"parameter{host.primary_region_parameter(stack)}")] if ways[1:] else [],
        # Keys are changed on the shipped hosts alone.
        "tunnel-hosts-any": "*" if hosts else [],
        "tunnel-hosts-document": [_arn("ssm", f"document/{shipped}")] if hosts else [],
        "tunnel-hosts-instances": [_arn("ec2", "instance/*")] if hosts else [],
        "throne": [_table()] if fleet.databases else [],
    }


def _databases(fleet: Fleet) -> dict[str, Any]:
    databases = fleet.databases
    admin = databases.admin_secret if databases else None
    # Secrets Manager adds a hyphen and six characters of its own to a secret's name.
    return {
        "database-secret": [_arn("secretsmanager", f"secret:{databases.secret}-??????")] if databases else [],
        "admin-secret": [_arn("secretsmanager", f"secret:{admin}-??????")] if admin else [],
    }


def _table() -> Json:
    return _arn("dynamodb", "table/${AWS::StackName}-coordination", "*")


def _global(service: str, rest: str) -> Json:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:::{rest}"}


def _arn(service: str, rest: str, region: str = "${AWS::Region}") -> Json:
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:{service}:{region}:${{AWS::AccountId}}:{rest}"}
