"""The embedded AWS for tests: an empty one per module, and one per run with the real package deployed to the fleet."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commands.deploy import dependencies, packaging, release
from sandbox.world import Sandbox

Invoke = Callable[..., Any]


@pytest.fixture(scope="module")
def empty() -> Iterator[Sandbox]:
    """An embedded AWS with nothing in it."""
    with Sandbox.start() as world:
        yield world


@pytest.fixture(scope="session")
def package() -> packaging.Package:
    """The real package, as `./lamp demo` makes it."""
    return packaging.build("test", machine=dependencies.here())


@pytest.fixture(scope="session")
def released(package: packaging.Package) -> Iterator[tuple[Sandbox, list[str]]]:
    """An embedded AWS that was empty before the real package came to every region, and what came of each stack."""
    with Sandbox.start() as world:
        regions = [region.name for region in package.fleet.regions]
        done = release.release(world, package, regions, release.Quiet(), lambda: True, look_seconds=0.1)
        assert [one.error for one in done] == [""] * (len(regions) + 1)
        yield world, [one.status for one in done]


@pytest.fixture(scope="session")
def fleet(released: tuple[Sandbox, list[str]]) -> Sandbox:
    """An embedded AWS with the real package in every region of fleet.toml. Tests share it: leave no faults behind."""
    return released[0]


@pytest.fixture
def invoke(fleet: Sandbox, package: packaging.Package) -> Invoke:
    """`invoke(function, event, region=home)`: a deployed Lambda's answer."""
    def call(function: str, event: Any, region: str = package.fleet.home) -> Any:
        answer = fleet.client("lambda", region).invoke(
            FunctionName=f"{package.stack}-{function}", Payload=json.dumps(event))
        return json.loads(answer["Payload"].read())
    return call


def zipped(source: str) -> bytes:
    """A Lambda's zip with `source` as index.py."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.py", source)
    return buffer.getvalue()


def make_lambda(world: Sandbox, region: str, name: str, source: str, *, allow: Any = (), timeout: int = 30) -> str:
    """A Lambda with `index.handler`, and a role of its own that may do what `allow` (IAM statements) says; its ARN."""
    iam = world.client("iam", region)
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName=f"{name}-{region}", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    if allow:
        policy = {"Version": "2012-10-17", "Statement": list(allow)}
        iam.put_role_policy(RoleName=f"{name}-{region}", PolicyName="p", PolicyDocument=json.dumps(policy))
    made = world.client("lambda", region).create_function(
        FunctionName=name, Runtime="python3.11", Handler="index.handler", Role=role, Timeout=timeout,
        Code={"ZipFile": zipped(source)})
    return str(made["FunctionArn"])
