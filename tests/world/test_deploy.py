"""Deploying: every region at once, nothing twice, and back as it was when something fails."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.config import fleet
from chalicelib.infrastructure import tables
from chalicelib.version import VERSION
from commands import roots
from commands.deploy import account, packaging, release
from commands.errors import UsageError
from sandbox.world import ACCOUNT, Sandbox
from tests.world.conftest import zipped

pytestmark = pytest.mark.world
HOME, REGIONS = "eu-west-1", ["eu-west-1", "us-east-1", "ap-southeast-1"]

FLEET = """
name = "{name}"
coordination = {{ regions = ["eu-west-1", "eu-central-1", "eu-west-3"] }}
[[regions]]
name = "eu-west-1"
[[regions]]
name = "us-east-1"
[[regions]]
name = "ap-southeast-1"
"""


def small(name: str, tmp_path: Path, *, visibility: int = 60, layers: list[str] | None = None) -> packaging.Package:
    """A package with one queue and one Lambda; `layers` that do not exist make it fail half-way."""
    declared = fleet.parse(FLEET.format(name=name))
    path = tmp_path / f"{name}.zip"
    path.write_bytes(zipped("def handler(event, context): return event"))
    template: dict[str, Any] = {"AWSTemplateFormatVersion": "2010-09-09", "Transform": "AWS::Serverless-2016-10-31",
                                "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {
            "QueueName": {"Fn::Sub": "${AWS::StackName}-q"}, "VisibilityTimeout": visibility}},
        "Echo": {"Type": "AWS::Serverless::Function", "DependsOn": "Queue", "Properties": {
            "Runtime": "python3.11", "Handler": "index.handler", "CodeUri": "./deployment.zip",
            "Layers": layers or []}}}}
    return packaging.Package(declared, "t", path, "0" * 64, template, tables.coordination(declared, "t"), ())


def deploy(world: Sandbox, package: packaging.Package, *, agree: bool = True) -> dict[tuple[str, str], release.Done]:
    """Release to all regions; the results by region and stack."""
    done = release.release(world, package, REGIONS, release.Quiet(), lambda: agree, look_seconds=0.05)
    return {(one.region, one.stack): one for one in done}


def stacks(world: Sandbox, region: str, name: str) -> list[str]:
    """The status of every stack whose name begins with `name` and that is not gone."""
    found = world.client("cloudformation", region).list_stacks()["StackSummaries"]
    return [one["StackStatus"] for one in found
            if one["StackName"].startswith(name) and one["StackStatus"] != "DELETE_COMPLETE"]


def visibility(world: Sandbox, region: str, name: str) -> str:
    """The queue's visibility time-out as it is now."""
    sqs = world.client("sqs", region)
    url = sqs.get_queue_url(QueueName=f"{name}-t-q")["QueueUrl"]
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"])


def test_three_regions_and_their_common_table_come_up_and_a_second_time_changes_nothing(
    empty: Sandbox, tmp_path: Path
) -> None:
    package = small("up", tmp_path)
    done = deploy(empty, package)
    assert {key: one.status for key, one in done.items()} == {
        ("eu-west-1", "up-t-coordination"): "deployed", **{(region, "up-t"): "deployed" for region in REGIONS}}
    for region in REGIONS:
        names = [one["FunctionName"] for one in empty.client("lambda", region).list_functions()["Functions"]]
        assert len([name for name in names if name.startswith("up-t-Echo")]) == 1
    for region in ("eu-west-1", "eu-central-1", "eu-west-3"):
        table = empty.client("dynamodb", region).describe_table(TableName="up-t-coordination")["Table"]
        assert table["TableStatus"] == "ACTIVE"
    [stack] = empty.client("cloudformation", "eu-west-1").describe_stacks(StackName="up-t")["Stacks"]
    assert {"Key": "lamplighter-version", "Value": VERSION} in stack["Tags"]
    assert {one.status for one in deploy(empty, package).values()} == {"unchanged"}


def test_only_what_changed_is_modified(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, small("edit", tmp_path))
    done = deploy(empty, small("edit", tmp_path, visibility=90))
    assert {key: one.changes for key, one in done.items()} == {
        ("eu-west-1", "edit-t-coordination"): {}, **{(region, "edit-t"): {"modify": 1} for region in REGIONS}}
    assert [visibility(empty, region, "edit") for region in REGIONS] == ["90"] * 3


def test_a_failed_first_deployment_names_the_cause_and_leaves_nothing(empty: Sandbox, tmp_path: Path) -> None:
    layer = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:missing:1"
    done = deploy(empty, small("fail", tmp_path, layers=[layer]))
    failed = done["us-east-1", "fail-t"]
    assert failed.status == "failed" and "nothing of it is left" in failed.error
    assert "Echo (AWS::Lambda::Function)" in failed.error and "missing" in failed.error
    assert all(stacks(empty, region, "fail-t") in ([], ["CREATE_COMPLETE"]) for region in REGIONS)
    assert [url for url in empty.client("sqs", "us-east-1").list_queues().get("QueueUrls", []) if "fail-t" in url] == []
    # What stood in the way is gone: the mended package deploys.
    assert {one.status for one in deploy(empty, small("fail", tmp_path)).values()} == {"deployed", "unchanged"}


def test_a_failed_update_leaves_the_stack_as_it_was(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, small("back", tmp_path))
    layer = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:missing:1"
    done = deploy(empty, small("back", tmp_path, visibility=90, layers=[layer]))
    failed = done[HOME, "back-t"]
    assert failed.status == "failed" and "UPDATE_ROLLBACK_COMPLETE" in failed.error and "missing" in failed.error
    assert visibility(empty, HOME, "back") == "60"


def test_declined_changes_nothing_and_leaves_no_stack_in_review(empty: Sandbox, tmp_path: Path) -> None:
    done = deploy(empty, small("no", tmp_path), agree=False)
    assert {one.status for one in done.values()} == {"declined"}
    assert [stacks(empty, region, "no-t") for region in REGIONS] == [[], [], []]


def test_a_change_set_that_cannot_be_made_stops_everything_before_anything_changes(
    empty: Sandbox, tmp_path: Path
) -> None:
    package = small("bad", tmp_path)
    package.template["Parameters"] = {"Nothing": {"Type": "String"}}
    with pytest.raises(UsageError, match=r"CreateChangeSet.*Nothing"):
        deploy(empty, package)
    assert [stacks(empty, region, "bad-t") for region in REGIONS] == [[], [], []]


def test_the_bucket_is_private_encrypted_and_made_once(empty: Sandbox, tmp_path: Path) -> None:
    deploy(empty, small("up", tmp_path))
    s3, name = empty.client("s3", "us-east-1"), f"up-{ACCOUNT}-us-east-1-an"
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert sorted(one["Key"] for one in s3.list_objects_v2(Bucket=name)["Contents"]) == [
        f"t/{'0' * 64}.json", f"t/{'0' * 64}.zip"]


class Other:
    """The world with other keys."""

    def __init__(self, world: Sandbox, key: str, secret: str) -> None:
        self.other = Sandbox(msgspec.structs.replace(world.state, access_key=key, secret_key=secret))

    def client(self, service: str, region: str) -> Any:
        """A client with these keys."""
        return self.other.client(service, region)


def test_unknown_credentials_are_one_clear_mistake(empty: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="AWS does not know these credentials"):
        deploy(Other(empty, "AKIAUNKNOWN", "x"), small("keys", tmp_path))  # type: ignore[arg-type]


def test_a_denied_call_names_the_call_and_the_region(empty: Sandbox, tmp_path: Path) -> None:
    iam = empty.client("iam", HOME)
    iam.create_user(UserName="poor")
    key = iam.create_access_key(UserName="poor")["AccessKey"]
    # The gate knows the operator and sessions only; a session of the poor user passes it.
    sts = account.number(empty, HOME)
    assert sts == ACCOUNT
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="poor", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    session = empty.client("sts", HOME).assume_role(RoleArn=role, RoleSessionName="poor")["Credentials"]
    assert key["Status"] == "Active"
    with pytest.raises(UsageError, match=r"eu-west-1: AWS denied .*docs/deploy.md"):
        deploy(Session(empty, session), small("denied", tmp_path))  # type: ignore[arg-type]


class Session:
    """The world with the temporary keys of a role."""

    def regions(self) -> Sequence[str]:
        """Those of the world."""
        return self.world.regions()

    def __init__(self, world: Sandbox, keys: dict[str, str]) -> None:
        self.world, self.keys = world, keys

    def client(self, service: str, region: str) -> Any:
        """A client with these keys."""
        import boto3

        return boto3.client(
            service, region_name=region, endpoint_url=self.world.endpoint, aws_session_token=self.keys["SessionToken"],
            aws_access_key_id=self.keys["AccessKeyId"], aws_secret_access_key=self.keys["SecretAccessKey"])


def test_another_deployment_in_progress_is_told(
    empty: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from commands.deploy import stacks as module

    monkeypatch.setattr(module, "_status", lambda target, stack: ("UPDATE_IN_PROGRESS", "id"))
    with pytest.raises(UsageError, match="Another deployment is at work on it"):
        deploy(empty, small("busy", tmp_path))


def test_the_command_deploys_wherever_the_users_credentials_lead(empty: Sandbox) -> None:
    """As to AWS: only the endpoint and the credentials differ."""
    words = [sys.executable, "-P", "-m", "commands", "deploy", "--stage", "cli", "--region", "us-east-1", "--yes"]
    environment = {**os.environ, **empty.environment, "PYTHONPATH": str(roots.PRODUCT)}
    first = subprocess.run([*words, "--json"], env=environment, capture_output=True, text=True)
    assert [one["status"] for one in json.loads(first.stdout)] == ["deployed", "deployed"], first.stderr
    again = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (again.returncode, "nothing to deploy" in again.stdout) == (0, True)


@pytest.mark.parametrize(("words", "says"), [
    (["--stage", "x"], "nobody can answer here. Add --yes"),
    (["--stage", "x", "--yes", "--region", "eu-north-1"], "--region eu-north-1: not a region of fleet.toml"),
    (["--stage", "X", "--yes"], "--stage 'X'"),
    (["--stage", "x", "--yes"], "no AWS credentials found"),
])
def test_mistakes_at_the_command_are_one_clear_line(words: list[str], says: str, tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(roots.PRODUCT), "COLUMNS": "200",
            "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run([sys.executable, "-P", "-m", "commands", "deploy", *words], env=bare, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
