"""The additions of `[tunnels.hosts]` to the template. Every region but the primary's gets a balancer, a group of tunnel
hosts behind it, their key, their permissions, and the one document that may run on them.

One template serves all regions. A mapping has the differences, and a condition leaves the primary's region empty.
"""

from typing import Any

from chalicelib import escape
from chalicelib.config import tunnel_hosts as host
from chalicelib.config.declared import Fleet
from chalicelib.config.fleet import FleetError
from chalicelib.config.tunnel_hosts import HostRegion, Hosts
from chalicelib.config.tunnels import Tunnels, managed_name
from chalicelib.tunnels.infrastructure import host as tunnel_host
from chalicelib.tunnels.infrastructure import network, role

Json = dict[str, Any]

CONDITION = "TunnelsHere"
_MAPPING = "Tunnels"
_IMAGES = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"
# What CloudFormation may put into the user data: the stack's name thrice, a region, a gateway.
_FILLED = 700
# Answers of the health port: "HTTP 200" when a probe went through the tunnel to the database.
_CHECK_SECONDS = 5
# A restart is given up after so long; the healer's own patience is 40 s.
_COMMAND_SECONDS = "30"

ACTIONS = ("restart", "reload-keys", "check-former-key", "point")
_ACTION = """\
set -u
PATH=$PATH:/usr/local/bin
key=$(printf %s '{{ Key }}' | tr / _) acts=${HOME:-/root}/.lamplighter/acts
mkdir -p "$acts"
if [ -n "$key" ] && ! mkdir "$acts/$key" 2>/dev/null; then echo "$key was run before"; exit 0; fi
case "{{ Action }}" in
restart) systemctl restart lamplighter-tunnel && systemctl is-active --quiet lamplighter-tunnel ;;
reload-keys) lamplighter-keys reload ;;
check-former-key) lamplighter-keys check-former-key ;;
point)
    lamplighter-keys point '{{ Primary }}' && systemctl restart lamplighter-tunnel &&
        systemctl is-active --quiet lamplighter-tunnel ;;
esac
"""


def merged(template: Json, fleet: Fleet) -> Json:
    """`template` with the tunnel hosts of `fleet`, if it declares any."""
    tunnels = fleet.tunnels
    if tunnels is None or tunnels.hosts is None:
        return template
    parts = {
        "Mappings": {_MAPPING: _mapping(tunnels, tunnels.hosts)},
        "Conditions": {CONDITION: {"Fn::Not": [{"Fn::Equals": [{"Ref": "AWS::Region"}, tunnels.primary]}]},
                       **network.conditions(tunnels.hosts)},
        "Resources": _resources(tunnels, tunnels.hosts, fleet),
        "Outputs": {"TunnelsAddress": {
            "Condition": CONDITION, "Description": "The address of the primary's database in this region",
            "Value": {"Fn::Sub": f"${{TunnelsBalancer.DNSName}}:{tunnels.port}"}},
            "TunnelsClients": {
                "Condition": CONDITION, "Description": "The security group of clients of the tunnels in this region",
                "Value": {"Fn::GetAtt": ["TunnelsClients", "GroupId"]}}},
    }
    return {**template, **{name: {**template.get(name, {}), **part} for name, part in parts.items()}}


def vpc_config(fleet: Fleet) -> Json:
    """`VpcConfig` of a Lambda that probes through the tunnels. In the primary's region it stays outside of the VPC."""
    config = {"SecurityGroupIds": [{"Fn::GetAtt": ["TunnelsProber", "GroupId"]}], "SubnetIds": _find("Subnets")}
    return {"Fn::If": [CONDITION, config, {"Ref": "AWS::NoValue"}]}


def _mapping(tunnels: Tunnels, hosts: Hosts) -> Json:
    def row(place: HostRegion) -> Json:
        return {"Vpc": place.vpc, "Subnets": list(place.subnets), "Gateway": place.gateway or hosts.gateway}

    # CloudFormation looks every row up before it asks a condition: the primary's needs one, too.
    none = {"Vpc": "vpc-00000000", "Subnets": ["subnet-00000000"], "Gateway": hosts.gateway}
    return {tunnels.primary: none, **{place.name: row(place) for place in hosts.regions}}


def _resources(tunnels: Tunnels, hosts: Hosts, fleet: Fleet) -> Json:
    ways = host.primary_routes(hosts, tunnels.primary)
    database_ports = {server.port for server in fleet.databases.servers} if fleet.databases else set()
    parts: Json = {
        "TunnelsKey": {"Type": "AWS::SecretsManager::Secret", "Properties": {
            "Name": {"Fn::Sub": host.private_key_secret("${AWS::StackName}")},
            "Description": "Private key of the tunnel hosts. Made and changed by the operation tunnels.rotate_keys"}},
        "TunnelsKnownHosts": {"Type": "AWS::SSM::Parameter", "Properties": {
            "Name": {"Fn::Sub": host.known_hosts_parameter("${AWS::StackName}")}, "Type": "String",
            "Description": "Host keys of the gateways, as lines of a known_hosts file",
            "Value": "".join(escape.known_host(way.alias, key) for way in ways for key in way.host_keys)}},
        "TunnelsDocument": _document(),
        "TunnelsBalancer": _balancer(), "TunnelsTargets": _targets(tunnels), "TunnelsListener": _listener(tunnels),
        "TunnelsTemplate": _template(tunnels, hosts), "TunnelsGroup": _group(tunnels),
        **role.resources(bool(hosts.ways)), **network.resources(tunnels, hosts, _find("Vpc"), database_ports)}
    return {id: {"Condition": CONDITION, **part} for id, part in parts.items()}


def _document() -> Json:
    script = {"action": "aws:runShellScript", "name": "act",
              "precondition": {"StringEquals": ["platformType", "Linux"]},
              "inputs": {"timeoutSeconds": _COMMAND_SECONDS, "runCommand": _ACTION.splitlines()}}
    content = {
        "schemaVersion": "2.2", "description": "Restarts the tunnel of a tunnel host, or lets it fetch its key",
        "parameters": {"Action": {
            "type": "String", "default": "restart", "allowedValues": list(ACTIONS),
            "description": "restart: the tunnel's service. reload-keys: the key to come, tried before it is used. "
                           "check-former-key: whether a gateway still lets the former key in. "
                           "point: the way to the primary in the region Primary, tried before it is taken."},
            "Primary": {"type": "String", "default": "", "allowedPattern": "^[a-z0-9-]{0,30}$",
                       "description": "The region that point leads to."},
            "Key": {"type": "String", "default": "", "allowedPattern": "^[A-Za-z0-9/._-]{0,200}$",
                    "description": "A mark of the act: of several commands with the same one, the first is run."}},
        "mainSteps": [script]}
    return {"Type": "AWS::SSM::Document", "Properties": {
        "Name": _named(), "DocumentType": "Command", "DocumentFormat": "JSON", "TargetType": "/AWS::EC2::Instance",
        "UpdateMethod": "NewVersion", "Content": content}}


def _balancer() -> Json:
    return {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer", "Properties": {
        "Name": _named(), "Type": "network", "Scheme": "internal", "Subnets": _find("Subnets"),
        "SecurityGroups": [{"Fn::GetAtt": ["TunnelsEntrance", "GroupId"]}],
        "LoadBalancerAttributes": _attributes({"load_balancing.cross_zone.enabled": "true"})}}


def _targets(tunnels: Tunnels) -> Json:
    """The group of hosts. A drain is a cut, because a replica stays on a hung connection for as long as it is open."""
    attributes = {
        "deregistration_delay.timeout_seconds": "0",
        "deregistration_delay.connection_termination.enabled": "true",
        "target_health_state.unhealthy.connection_termination.enabled": "true",
        # Hosts see the balancer's address: clients in peered networks, and on a tunnel host, get their answers.
        "preserve_client_ip.enabled": "false"}
    return {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
        "Name": _named(), "Protocol": "TCP", "Port": tunnels.port, "VpcId": _find("Vpc"), "TargetType": "instance",
        "HealthCheckProtocol": "HTTP", "HealthCheckPort": str(tunnels.health_port), "HealthCheckPath": "/",
        "HealthCheckIntervalSeconds": _CHECK_SECONDS, "HealthCheckTimeoutSeconds": _CHECK_SECONDS - 1,
        "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2, "Matcher": {"HttpCode": "200"},
        "TargetGroupAttributes": _attributes(attributes)}}


def _listener(tunnels: Tunnels) -> Json:
    forward = {"Type": "forward", "TargetGroupArn": {"Ref": "TunnelsTargets"}}
    return {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": {
        "LoadBalancerArn": {"Ref": "TunnelsBalancer"}, "Port": tunnels.port, "Protocol": "TCP",
        "DefaultActions": [forward]}}


def _template(tunnels: Tunnels, hosts: Hosts) -> Json:
    script = tunnel_host.user_data(tunnels, hosts, tunnel_host.files())
    if (size := len(script.encode())) > tunnel_host.MOST_BYTES - _FILLED:
        raise FleetError(
            f"the user data of a tunnel host has {size:,} bytes, and AWS allows {tunnel_host.MOST_BYTES:,} "
            "with the stack's name in it. Declare fewer [[tunnels.hosts.ways]], or shorter names in them"
        )
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "VolumeType": "gp3", "DeleteOnTermination": True}}
    tags = [{"Key": "Name", "Value": _named()}]
    return {"Type": "AWS::EC2::LaunchTemplate", "Properties": {"LaunchTemplateName": _named(), "LaunchTemplateData": {
        # Looked up at each launch: a host that is replaced comes with the patches of that day.
        "ImageId": f"resolve:ssm:{_IMAGES}{hosts.machine}", "InstanceType": hosts.instance,
        "IamInstanceProfile": {"Arn": {"Fn::GetAtt": ["TunnelsProfile", "Arn"]}},
        "SecurityGroupIds": [{"Fn::GetAtt": ["TunnelsHosts", "GroupId"]}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "disabled"},
        "BlockDeviceMappings": [disk],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        "UserData": {"Fn::Base64": {"Fn::Sub": [script, {"Gateway": _find("Gateway")}]}}}}}


def _group(tunnels: Tunnels) -> Json:
    """Auto Scaling keeps the number and replaces what EC2 calls broken. A tunnel's trouble is the controller's alone.
    """
    return {"Type": "AWS::AutoScaling::AutoScalingGroup",
            # A host fetches its key and the host keys as it boots, and tells Systems Manager that it is there.
            "DependsOn": ["TunnelsListener", "TunnelsKnownHosts", "TunnelsPolicy"],
            "Properties": {
                "AutoScalingGroupName": _named(), "MinSize": str(tunnels.slots), "DesiredCapacity": str(tunnels.slots),
                "MaxSize": str(tunnels.slots + 1), "HealthCheckType": "EC2", "HealthCheckGracePeriod": 60,
                "VPCZoneIdentifier": _find("Subnets"), "TargetGroupARNs": [{"Ref": "TunnelsTargets"}],
                "LaunchTemplate": {"LaunchTemplateId": {"Ref": "TunnelsTemplate"},
                                   "Version": {"Fn::GetAtt": ["TunnelsTemplate", "LatestVersionNumber"]}}}}


def _attributes(values: dict[str, str]) -> list[Json]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def _named() -> Json:
    return {"Fn::Sub": managed_name("${AWS::StackName}")}


def _find(what: str) -> Json:
    return {"Fn::FindInMap": [_MAPPING, {"Ref": "AWS::Region"}, what]}
