"""What `[tunnels.hosts]` adds to the template: everything that AWS would check late, or never."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.config import fleet
from chalicelib.config.fleet import FleetError
from chalicelib.infrastructure import networks, policies
from chalicelib.infrastructure.template import merged, static
from chalicelib.tunnels.infrastructure import resources as tunnel_resources
from chalicelib.tunnels.infrastructure import role as tunnel_role
from commands.deploy import packaging
from tests.lint import findings
from tests.project import copy
from tests.tunnels.fleets import FAR, HOST_KEY, NEAR, PRIMARY, TEXT, WAYS, parsed

ROOT = Path(__file__).resolve().parent.parent.parent
Json = dict[str, Any]


def template(text: str = TEXT, stage: str = "s") -> Json:
    """The template of the tunnels alone, ready for CloudFormation."""
    whole = merged({"Resources": {}}, fleet.parse(text), stage, [])
    # The healer's rule and alarm are the timers', and every fleet with tunnels has them.
    own = {id: part for id, part in whole["Resources"].items()
           if id.startswith("Tunnels") and not id.startswith("TunnelsHeal")}
    outputs = {id: part for id, part in whole["Outputs"].items() if id.startswith("Tunnels")}
    return {**whole, "AWSTemplateFormatVersion": "2010-09-09", "Resources": own, "Outputs": outputs}


@pytest.fixture(scope="module")
def parts() -> Json:
    """Properties by logical id."""
    return {id: part["Properties"] for id, part in template()["Resources"].items()}


def rules(way: str, group: str) -> Iterator[tuple[int, str]]:
    """Port and peer of every rule of a security group, whatever its condition."""
    for rule in template()["Resources"][group]["Properties"][f"SecurityGroup{way}"]:
        found = rule["Fn::If"][1] if "Fn::If" in rule else rule
        assert found["IpProtocol"] == "tcp" and found["FromPort"] == found["ToPort"]
        yield found["FromPort"], found.get("CidrIp") or found["SourceSecurityGroupId"]["Fn::GetAtt"][0]


@pytest.mark.slow
def test_it_passes_cfn_lint_in_every_region() -> None:
    for text in (TEXT, WAYS, TEXT.replace('database = "db.internal"', 'database = "10.0.0.9"\ninstance = "t3.micro"')):
        assert findings(template(text), [PRIMARY, NEAR, FAR]) == []


def test_a_fleet_with_hosts_of_its_own_gets_none_of_this() -> None:
    adopted = TEXT.partition("[tunnels.hosts]")[0] + 'group = "mine"\ntarget_group = "mine"\n'
    bare = TEXT.partition("[tunnels]")[0]
    assert template(adopted)["Resources"] == template(bare)["Resources"] == {}
    assert "Mappings" not in template(adopted)


def test_nothing_is_made_in_the_primaries_region() -> None:
    made = template()
    assert made["Conditions"][tunnel_resources.CONDITION] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "AWS::Region"}, PRIMARY]}]}
    known = {f"TunnelsIn{name}": region for name, region in (("EuWest1", NEAR),)}
    assert "TunnelsInApSoutheast1" not in made["Conditions"], "no networks, so nothing that differs"
    for name, region in known.items():
        assert made["Conditions"][name] == {"Fn::Equals": [{"Ref": "AWS::Region"}, region]}
    assert {part["Condition"] for part in made["Resources"].values()} == {tunnel_resources.CONDITION}
    assert made["Outputs"]["TunnelsAddress"]["Condition"] == tunnel_resources.CONDITION


def test_every_region_finds_its_own_network_and_its_own_way_to_the_gateway() -> None:
    rows = template()["Mappings"]["Tunnels"]
    assert rows[NEAR] == {"Vpc": "vpc-0123456789abcdef0", "Gateway": "gw.example.com",
                          "Subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]}
    assert rows[FAR]["Gateway"] == "10.9.8.7"
    # CloudFormation looks rows up also for what a condition leaves out.
    assert rows[PRIMARY].keys() == rows[NEAR].keys()


def test_with_more_ways_than_one_hosts_know_them_all_and_a_parameter_says_which_counts() -> None:
    made = template(WAYS)["Resources"]
    key = HOST_KEY.split()[1]
    assert made["TunnelsKnownHosts"]["Properties"]["Value"].splitlines() == [
        f"lamplighter-gateway-{region} ssh-ed25519 {key}" for region in (PRIMARY, FAR)]
    out = {(rule["FromPort"], rule["CidrIp"])
           for rule in made["TunnelsHosts"]["Properties"]["SecurityGroupEgress"]}
    assert out == {(443, "0.0.0.0/0"), (22, "0.0.0.0/0"), (2222, "10.3.0.9/32")}
    (read,) = [one for one in made["TunnelsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
               if one["Sid"] == "ReadHostKeys"]
    assert [one["Fn::Sub"].rpartition("/")[2] for one in read["Resource"]] == ["known-hosts", "primary-region"]


def test_what_an_operation_writes_is_no_value_of_the_stack() -> None:
    """CloudFormation writes a template's value back whenever it updates the resource, and be it for a tag."""
    fleet, _, _ = parsed(WAYS)
    written = {resource["Fn::Sub"].rpartition(":parameter")[2]
               for path in sorted((ROOT / ".chalice" / "policies").glob("*.json"))
               for statement in policies.resolved(json.loads(path.read_text()), fleet)["Statement"]
               if "ssm:PutParameter" in statement["Action"] for resource in statement["Resource"]}
    valued = {part["Properties"]["Name"]["Fn::Sub"] for part in template(WAYS)["Resources"].values()
              if part["Type"] == "AWS::SSM::Parameter"}
    assert any(name.endswith("/primary-region") for name in written) and valued
    assert not written & valued


def test_ways_that_do_not_fit_onto_a_host_are_refused() -> None:
    names = ["us-west-2", "eu-north-1", "sa-east-1", "ca-central-1", "ap-south-1", "eu-west-3"]
    regions = "".join(f'[[regions]]\nname = "{name}"\n' for name in names)
    ways = "".join(f'[[tunnels.hosts.ways]]\nregion = "{name}"\ngateway = "{"g" * 253}"\nhost_keys = ["{HOST_KEY}"]\n'
                   f'database = "{"d" * 253}"\n' for name in names)
    places = "".join(
        f'[[tunnels.hosts.regions]]\nname = "{name}"\nvpc = "vpc-01234567"\nsubnets = ["subnet-01234567"]\n'
        for name in names)
    with pytest.raises(FleetError, match=r"user data .* fewer \[\[tunnels.hosts.ways\]\], or shorter names"):
        template(TEXT.replace("[tunnels]", f"{regions}[tunnels]") + places + ways)


def test_the_balancer_is_internal_and_cuts_what_it_takes_out(parts: Json) -> None:
    balancer, group = parts["TunnelsBalancer"], parts["TunnelsTargets"]
    assert (balancer["Type"], balancer["Scheme"]) == ("network", "internal")
    assert {"Key": "load_balancing.cross_zone.enabled", "Value": "true"} in balancer["LoadBalancerAttributes"]
    attributes = {one["Key"]: one["Value"] for one in group["TargetGroupAttributes"]}
    assert attributes == {
        "deregistration_delay.timeout_seconds": "0", "deregistration_delay.connection_termination.enabled": "true",
        "target_health_state.unhealthy.connection_termination.enabled": "true", "preserve_client_ip.enabled": "false"}
    assert (group["HealthCheckProtocol"], group["HealthCheckPort"], group["Port"]) == ("HTTP", "3307", 3306)
    assert group["HealthCheckTimeoutSeconds"] < group["HealthCheckIntervalSeconds"] == 5
    assert group["Name"] == parts["TunnelsGroup"]["AutoScalingGroupName"] == parts["TunnelsDocument"]["Name"]


def test_auto_scaling_keeps_the_number_and_leaves_tunnels_to_the_healer(parts: Json) -> None:
    group = parts["TunnelsGroup"]
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == ("2", "2", "3")
    assert group["HealthCheckType"] == "EC2" and group["TargetGroupARNs"] == [{"Ref": "TunnelsTargets"}]
    assert group["LaunchTemplate"]["Version"] == {"Fn::GetAtt": ["TunnelsTemplate", "LatestVersionNumber"]}
    # Instances are replaced by the healer or by hand, one after the other, and never by a deployment.
    assert "UpdatePolicy" not in template()["Resources"]["TunnelsGroup"]


def test_nobody_logs_in_to_a_host(parts: Json) -> None:
    data = parts["TunnelsTemplate"]["LaunchTemplateData"]
    assert "KeyName" not in data and data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert 22 not in {port for port, _ in rules("Ingress", "TunnelsHosts")}
    assert not any("DataChannel" in action for action in allowed())


@pytest.mark.slow
def test_the_image_is_of_the_instances_machine() -> None:
    for instance, machine in (("t4g.nano", "arm64"), ("t3.nano", "x86_64"), ("g4dn.xlarge", "x86_64"),
                              ("c7gn.medium", "arm64"), ("m6gd.large", "arm64"), ("a1.medium", "arm64")):
        text = TEXT.replace('database = "db.internal"', f'database = "db.internal"\ninstance = "{instance}"')
        data = template(text)["Resources"]["TunnelsTemplate"]["Properties"]["LaunchTemplateData"]
        assert data["ImageId"].endswith(f"al2023-ami-kernel-default-{machine}"), instance


def allowed() -> list[str]:
    """Every action that a host is allowed."""
    return [action for one in tunnel_role.statements(True)
            for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])]


def test_a_host_may_read_its_key_be_managed_and_nothing_else() -> None:
    assert sorted(allowed()) == [
        "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
        "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
        "secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel", "ssmmessages:OpenControlChannel"]
    everywhere = [one for one in tunnel_role.statements(True) if one["Resource"] == "*"]
    assert [one["Sid"] for one in everywhere] == ["TakeCommands"]
    assert all(action.startswith(("ssmmessages:", "ec2messages:")) for action in everywhere[0]["Action"])


def test_only_ec2_takes_the_role_and_no_managed_policy_comes_with_it(parts: Json) -> None:
    (trust,) = parts["TunnelsRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert "ManagedPolicyArns" not in parts["TunnelsRole"]


@pytest.mark.slow
def test_who_may_talk_to_whom() -> None:
    assert set(rules("Ingress", "TunnelsEntrance")) == {(3306, peer) for peer in (
        "10.1.0.0/16", "10.2.0.0/16", "TunnelsClients")}, "nobody else, where fleet.toml names no networks"
    assert set(rules("Egress", "TunnelsClients")) == {(3306, "0.0.0.0/0")}
    assert set(rules("Ingress", "TunnelsClients")) == set()
    assert {port for port, _ in rules("Egress", "TunnelsEntrance")} == {3306, 3307}
    assert set(rules("Ingress", "TunnelsHosts")) == {
        (port, source) for port in (3306, 3307) for source in ("TunnelsEntrance", "TunnelsProber")}
    assert set(rules("Egress", "TunnelsHosts")) == {(443, "0.0.0.0/0"), (22, "0.0.0.0/0")}
    assert set(rules("Ingress", "TunnelsProber")) == set()


def test_the_lambdas_of_the_databases_reach_the_port_of_each_server() -> None:
    text = """
[databases]
flavour = "mysql"
primary = "us-east-1"
secret = "s"
[[databases.servers]]
region = "us-east-1"
host = "db.internal"
port = 13306
[[databases.servers]]
region = "eu-west-1"
host = "replica.internal"
port = 3310
"""
    made = template(TEXT + text)["Resources"]["TunnelsProber"]["Properties"]["SecurityGroupEgress"]
    assert {rule["FromPort"] for rule in made} == {3306, 3307, 3310, 13306, 443}


def test_going_out_is_never_left_to_ec2s_default(parts: Json) -> None:
    groups = [part for part in parts.values() if "GroupDescription" in part]
    assert len(groups) == 4 and all(group["SecurityGroupEgress"] for group in groups)


def test_a_gateway_with_one_address_is_the_only_one_that_hosts_reach() -> None:
    text = TEXT.replace('gateway = "gw.example.com"', 'gateway = "203.0.113.7"').replace('gateway = "10.9.8.7"', "")
    rule = template(text)["Resources"]["TunnelsHosts"]["Properties"]["SecurityGroupEgress"][1]
    assert (rule["FromPort"], rule["CidrIp"]) == (22, "203.0.113.7/32")


def test_clients_are_let_in_in_their_own_region_only() -> None:
    found = template()["Resources"]["TunnelsEntrance"]["Properties"]["SecurityGroupIngress"]
    assert found[0]["SourceSecurityGroupId"] == {"Fn::GetAtt": ["TunnelsClients", "GroupId"]}
    near = [rule["Fn::If"][1]["CidrIp"] for rule in found[1:] if rule["Fn::If"][0] == "TunnelsInEuWest1"]
    assert near == ["10.1.0.0/16", "10.2.0.0/16"]
    assert all(rule["Fn::If"][2] == {"Ref": "AWS::NoValue"} for rule in found[1:])


def test_the_document_takes_one_of_three_words_and_no_shell(parts: Json) -> None:
    document = parts["TunnelsDocument"]["Content"]
    assert document["schemaVersion"] == "2.2" and list(document["parameters"]) == [
        "Action", "Primary", "Key"]
    assert document["parameters"]["Action"]["allowedValues"] == ["restart", "reload-keys", "check-former-key", "point"]
    pattern = re.compile(document["parameters"]["Key"]["allowedPattern"])
    assert pattern.fullmatch("1/i-0abc/17/2/restart")
    assert not any(pattern.fullmatch(f"1{bad}") for bad in "';$`\n \\\"&|")
    region = re.compile(document["parameters"]["Primary"]["allowedPattern"])
    assert region.fullmatch("ap-southeast-1") and not any(region.fullmatch(f"a{bad}") for bad in "';$`\n \\\"&|/")
    (step,) = document["mainSteps"]
    assert step["action"] == "aws:runShellScript"
    assert "\n".join(step["inputs"]["runCommand"]).count("{{") == 3


def test_the_host_keys_are_a_known_hosts_file_under_the_name_that_ssh_looks_for(parts: Json) -> None:
    assert parts["TunnelsKnownHosts"]["Value"] == f"lamplighter-gateway-{PRIMARY} {HOST_KEY}\n"
    assert "SecretString" not in parts["TunnelsKey"] and "GenerateSecretString" not in parts["TunnelsKey"]


@pytest.mark.slow
def test_a_name_that_no_target_group_can_have_is_refused_before_anything_is_deployed() -> None:
    assert template(stage="s" * 22)
    with pytest.raises(FleetError, match=r"AWS allows 32 characters\. Take a shorter name"):
        template(stage="s" * 23)


def test_a_change_of_key_goes_on_each_minute_where_there_is_a_lambda_for_it() -> None:
    made = merged(static(list(registry.lambdas())), fleet.parse(TEXT), "s", ["tunnels_rotate_keys"])["Resources"]
    rule = made["TunnelsRotateKeysRule"]
    assert rule["Condition"] == made["TunnelsRotateKeysPermission"]["Condition"] == tunnel_resources.CONDITION
    assert rule["Properties"]["Targets"][0]["Arn"] == {"Fn::GetAtt": ["TunnelsRotateKeys", "Arn"]}
    assert "Input" not in rule["Properties"]["Targets"][0]  # it would hide the event's time


def test_a_lambda_that_probes_stands_in_the_network_except_in_the_primaries_region() -> None:
    condition, inside, outside = tunnel_resources.vpc_config(parsed()[0])["Fn::If"]
    assert condition == tunnel_resources.CONDITION and outside == {"Ref": "AWS::NoValue"}
    assert inside["SecurityGroupIds"] == [{"Fn::GetAtt": ["TunnelsProber", "GroupId"]}]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("placed", [[PRIMARY], [NEAR], [PRIMARY, NEAR], [PRIMARY, NEAR, FAR]], ids="+".join)
def test_no_place_of_the_lambdas_is_out_of_reach_whichever_regions_have_their_own(placed: list[str]) -> None:
    """cfn-lint's W1028, with `[regions.network]` in some regions and tunnel hosts in all but the primary's."""
    text = TEXT
    for region in placed:
        text = text.replace(f'[[regions]]\nname = "{region}"\n', f'[[regions]]\nname = "{region}"\n[regions.network]\n'
                            'subnets = ["subnet-00000001"]\nsecurity_groups = ["sg-00000001"]\n')
    found = fleet.parse(text)
    made = template(text)
    made["Resources"]["Probe"] = {"Type": "AWS::Lambda::Function", "Properties": {
        "Code": {"ZipFile": "x"}, "Handler": "a.b", "Runtime": "python3.13",
        "Role": "arn:aws:iam::123456789012:role/r", **networks.config(found)}}
    made["Conditions"] |= networks.conditions(found)
    assert [one for one in findings(made, [PRIMARY, NEAR, FAR]) if one.startswith("W1028")] == []


def test_a_whole_package_with_tunnel_hosts_is_a_template_that_cfn_lint_likes(tmp_path: Path) -> None:
    project = copy(tmp_path)
    tunnels = TEXT[TEXT.index("[tunnels]"):]
    (project / "fleet.toml").write_text((project / "fleet.toml").read_text() + tunnels)
    package = packaging.build("prod", root=project, product=project)
    assert package.template["Resources"]["TunnelsGroup"]["Condition"] == tunnel_resources.CONDITION
    assert len(json.dumps(package.template)) < 1_000_000  # of a template in a bucket: CloudFormation's quotas
    assert findings(package.template, [PRIMARY, NEAR, FAR]) == []
