"""What fleet.toml names in the account, looked up in an AWS that has all of it, and in one that has none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chalicelib.config.fleet import parse
from commands import cli
from commands.deploy import account, account_names
from commands.develop import check
from sandbox.faults import UNAVAILABLE
from sandbox.world import Sandbox
from tests.world.hosts import IMAGE, add_image, launch

pytestmark = pytest.mark.world

HOME, AWAY = "eu-west-1", "us-east-1"
OWNER = "111122223333"
TEXT = """
name = "acme"
[coordination]
regions = ["{home}"]
[[regions]]
name = "{home}"
[regions.endpoint]
load_balancer = "{balancer}"
zone = "{balancer_zone}"
bucket = "{bucket}"
[regions.network]
subnets = ["{subnet}"]
security_groups = ["{group}"]
[[regions]]
name = "{away}"
[regions.endpoint]
addresses = ["192.0.2.1"]
[regions.ecs]
subnets = ["{far_subnet}"]
security_groups = ["{far_group}"]
[routing]
hostname = "{hostname}"
zone = "{zone}"
[health_checks]
target_groups = ["{targets}"]
[schedules.ecs]
cluster = "{cluster}"
task_definition = "{definition}"
container = "{container}"
roles = ["{role}"]
[schedules.ssm]
tag = "{tag}"
value = "yes"
[tunnels]
primary = "{home}"
group = "{scaling}"
target_group = "{targets}"
document = "{document}"
[databases]
flavour = "mariadb"
primary = "{home}"
secret = "{secret}"
[[databases.servers]]
region = "{home}"
host = "10.0.0.9"
"""


DOCUMENT = {"schemaVersion": "2.2", "mainSteps": [
    {"action": "aws:runShellScript", "name": "restart", "inputs": {"runCommand": ["true"]}}]}
IAM = {"Version": "2012-10-17", "Statement": []}


def furnished(world: Sandbox, region: str) -> dict[str, str]:
    """All that a fleet names in a region, made there."""
    def client(service: str) -> Any:
        return world.client(service, region)

    vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = client("ec2").create_security_group(GroupName="lambdas", Description="of Lambdas", VpcId=vpc)["GroupId"]
    client("elbv2").create_target_group(Name="hosts", Protocol="TCP", Port=80, VpcId=vpc)
    client("ecs").create_cluster(clusterName="jobs")
    client("ecs").register_task_definition(
        family="jobs", containerDefinitions=[{"name": "app", "image": "app"}],
        taskRoleArn=f"arn:aws:iam::{OWNER}:role/app")
    client("ec2").create_launch_template(LaunchTemplateName="hosts", LaunchTemplateData={"ImageId": IMAGE})
    client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="tunnels", LaunchTemplate={"LaunchTemplateName": "hosts", "Version": "$Latest"}, MinSize=0,
        MaxSize=1, DesiredCapacity=0, AvailabilityZones=[f"{region}a"])
    client("ssm").create_document(Name="restart", Content=json.dumps(DOCUMENT), DocumentType="Command")
    client("secretsmanager").create_secret(Name="watch", SecretString="{}")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "cron", "Value": "yes"}]}]
    launch(world, region, TagSpecifications=tags)
    return {"subnet": subnet, "group": group}


@pytest.fixture(scope="module")
def known(empty: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The names of a fleet whose account has all of them."""
    add_image(empty, tmp_path_factory.mktemp("image"))
    empty.client("iam", HOME).create_role(RoleName="app", AssumeRolePolicyDocument=json.dumps(IAM))
    here, there = furnished(empty, HOME), furnished(empty, AWAY)
    [balancer] = empty.client("elbv2", HOME).create_load_balancer(
        Name="users", Subnets=[here["subnet"]])["LoadBalancers"]
    zone = empty.client("route53", HOME).create_hosted_zone(
        Name="example.com", CallerReference="z")["HostedZone"]["Id"]
    return {
        "home": HOME, "away": AWAY, "balancer": f"dualstack.{balancer['DNSName']}",
        "balancer_zone": balancer["CanonicalHostedZoneId"], "bucket": "not-made-yet", "far_subnet": there["subnet"],
        "far_group": there["group"], "hostname": "app.example.com", "zone": zone.rpartition("/")[2], "targets": "hosts",
        "cluster": "jobs", "definition": "jobs", "container": "app", "role": "app", "tag": "cron", "scaling": "tunnels",
        "document": "restart", "secret": "watch", **here}


def wrong(world: Sandbox, names: dict[str, str]) -> list[str]:
    return account_names.wrong(world, [parse(TEXT.format(**names))])


def test_a_fleet_whose_account_has_all_of_it_has_nothing_wrong(empty: Sandbox, known: dict[str, str]) -> None:
    assert wrong(empty, known) == []
    # As many stages as there are: what is wrong in two of them is told once.
    twice = [parse(TEXT.format(**known | {"secret": "gone"}))] * 2
    assert len(account_names.wrong(empty, twice)) == 1


BOTH = (HOME, AWAY)


@pytest.mark.parametrize(("change", "regions", "key", "what"), [
    ({"zone": "Z0000000"}, [HOME], "routing.zone", "this account has no hosted zone Z0000000"),
    ({"hostname": "app.example.org"}, [HOME], "routing.zone", "is the zone of example.com"),
    ({"balancer": "other-1.eu-west-1.elb.amazonaws.com"}, [HOME], f"regions.{HOME}.endpoint.load_balancer",
     "no load balancer of this account has the DNS name other-1"),
    ({"balancer_zone": "Z0000000"}, [HOME], f"regions.{HOME}.endpoint.load_balancer",
     "not Z0000000. Write that as `zone`"),
    ({"bucket": "far-away"}, [HOME], f"regions.{HOME}.endpoint.bucket", "is in us-east-1. Name one of eu-west-1"),
    ({"subnet": "subnet-00000000"}, [HOME], f"regions.{HOME}.network", "there is no subnet subnet-00000000"),
    ({"far_group": "sg-00000000"}, [AWAY], f"regions.{AWAY}.ecs", "there is no security group sg-00000000"),
    ({"group": "another"}, [HOME], f"regions.{HOME}.network", "Name only what is in one VPC"),
    ({"cluster": "gone"}, BOTH, "schedules.ecs.cluster", "there is no active ECS cluster gone"),
    ({"definition": "gone"}, BOTH, "schedules.ecs.task_definition", "there is no task definition gone"),
    ({"container": "gone"}, BOTH, "schedules.ecs.task_definition", "has no container gone. Write one of app"),
    ({"role": "other"}, BOTH, "schedules.ecs.task_definition", "the role app, which the worker may not pass"),
    ({"tag": "gone"}, BOTH, "schedules.ssm", "no instance with the tag gone=yes is online"),
    ({"scaling": "gone"}, [AWAY], "tunnels.group", "there is no Auto Scaling group gone"),
    ({"document": "gone"}, [AWAY], "tunnels.document", "there is no Systems Manager document gone"),
    ({"secret": "gone"}, [HOME], "databases.secret", "there is no secret gone"),
])
def test_a_name_that_the_account_lacks_is_told_with_its_key_and_the_remedy(
    change: dict[str, str], regions: Sequence[str], key: str, what: str, empty: Sandbox, known: dict[str, str],
    others: str
) -> None:
    names = {**known, **change} if change.get("group") != "another" else {**known, "group": others}
    found = wrong(empty, names)
    assert [line.split(": ")[:2] for line in found] == [[region, key] for region in regions]
    assert all(what in line for line in found)


@pytest.fixture(scope="module")
def others(empty: Sandbox) -> str:
    """A bucket of another region, and a security group of another VPC: its id."""
    empty.client("s3", AWAY).create_bucket(Bucket="far-away")
    vpc = empty.client("ec2", HOME).create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    group = empty.client("ec2", HOME).create_security_group(GroupName="far", Description="of others", VpcId=vpc)
    return str(group["GroupId"])


def test_a_target_group_and_a_tag_that_are_not_there_are_told(empty: Sandbox, known: dict[str, str]) -> None:
    found = wrong(empty, {**known, "targets": "gone"})
    assert [line.split(": ")[:2] for line in found] == [
        [HOME, "health_checks.target_groups"], [AWAY, "health_checks.target_groups"], [AWAY, "tunnels.target_group"]]
    tagged = TEXT.replace('group = "{scaling}"', 'tag = "{scaling}=yes"').format(**known | {"scaling": "cron"})
    assert account_names.wrong(empty, [parse(tagged)]) == []
    [line] = account_names.wrong(empty, [parse(tagged.replace("cron=yes", "cron=no"))])
    assert line.startswith(f"{AWAY}: tunnels.tag: no instance has the tag cron=no. ")


def test_what_is_there_and_cannot_be_used_is_told(empty: Sandbox, known: dict[str, str]) -> None:
    empty.client("secretsmanager", HOME).create_secret(Name="leaving", SecretString="{}")
    empty.client("secretsmanager", HOME).delete_secret(SecretId="leaving")
    [line] = wrong(empty, {**known, "secret": "leaving"})
    assert line.startswith(f"{HOME}: databases.secret: the secret leaving is about to be deleted")
    for region in BOTH:
        ecs = empty.client("ecs", region)
        ecs.register_task_definition(family="old", containerDefinitions=[{"name": "app", "image": "app"}])
        ecs.deregister_task_definition(taskDefinition="old:1")
    found = wrong(empty, {**known, "definition": "old:1"})
    assert len(found) == 2 and all("the task definition old:1 is INACTIVE" in line for line in found)


def test_what_aws_does_not_let_us_look_up_is_told_as_unknown(empty: Sandbox, known: dict[str, str]) -> None:
    empty.refuse("ecs:DescribeClusters", AWAY, UNAVAILABLE)
    try:
        [line] = wrong(empty, known)
    finally:
        empty.clear_faults()
    assert line.startswith(f"{AWAY}: schedules.ecs.cluster: nothing is known of it: ")


@pytest.mark.parametrize(("secret", "status"), [("watch", 0), ("gone", 1)])
def test_the_check_of_the_account_is_one_of_lamp_check(
    secret: str, status: int, empty: Sandbox, known: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.toml").write_text(TEXT.format(**known | {"secret": secret}))
    monkeypatch.setenv("LAMP_FLEET", str(tmp_path))
    monkeypatch.setattr(check, "chosen", dict)
    monkeypatch.setattr(account, "Account", lambda: empty)
    assert cli.main(["check", "--aws", "--json"]) == status
    [verdict] = json.loads(capsys.readouterr().out)
    assert (verdict["check"], verdict["ok"], len(verdict["findings"])) == ("account", not status, status)
