"""Each call of S3 that the product makes says whose bucket it means, and is refused for another account's."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session

from chalicelib.aws import client
from chalicelib.aws.s3 import AwsS3
from commands import roots
from testing.s3 import FakeS3

PRODUCT = ("agent", "chalicelib", "commands", "lamplighter", "app.py")
# Asked without credentials, as the health checkers of Route 53 ask, so that nothing of the account is said.
ANONYMOUS = {("chalicelib/aws/s3.py", "is_public")}


@cache
def owned() -> set[str]:
    """The operations of S3 that take an expected owner, as boto3 names their methods."""
    from botocore import xform_name

    model = get_session().get_service_model("s3")
    shapes = {name: model.operation_model(name).input_shape for name in model.operation_names}
    return {xform_name(name) for name, shape in shapes.items() if shape and "ExpectedBucketOwner" in shape.members}


def calls(source: str) -> Iterator[tuple[str, str, set[str]]]:
    """The function, the method, and the arguments of each call in `source` that is about a bucket."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                named = {one.arg or "**" for one in node.keywords} if isinstance(node, ast.Call) else set()
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "Bucket" in named:
                    yield function.name, node.func.attr, named


def unowned(source: str) -> list[tuple[str, str]]:
    """The function and method of each call that would also reach a bucket of somebody else."""
    # A paginator's call has the arguments of its operation.
    methods = owned() | {"paginate"}
    return sorted({(function, method) for function, method, named in calls(source)
                   if method in methods and "ExpectedBucketOwner" not in named})


def files() -> list[Path]:
    """The modules of the product."""
    places = [roots.PRODUCT / name for name in PRODUCT]
    return [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]


@pytest.mark.slow
def test_every_call_of_s3_in_the_product_names_the_owner() -> None:
    found = {str(file.relative_to(roots.PRODUCT)): file.read_text() for file in files()}
    about_buckets = [(name, method) for name, source in found.items() for _, method, _ in calls(source)]
    assert len(about_buckets) >= 14, "the calls of S3 are written in another way, which this test does not see"
    assert {(name, function) for name, source in found.items() for function, _ in unowned(source)} == ANONYMOUS


@pytest.mark.slow
@pytest.mark.parametrize(("call", "missing"), [
    ("s3.get_object(Bucket=b, Key=k)", ["get_object"]),
    ("s3.get_object(Bucket=b, Key=k, ExpectedBucketOwner=a)", []),
    ("s3.create_bucket(Bucket=b)", []),
    ("self._call(lambda api: api.put_bucket_policy(Bucket=b, Policy=p))", ["put_bucket_policy"]),
    ("s3.get_paginator('list_objects_v2').paginate(Bucket=b)", ["paginate"])])
def test_a_call_without_an_owner_is_found(call: str, missing: list[str]) -> None:
    assert [method for _, method in unowned(f"def f():\n    {call}")] == missing


@pytest.mark.slow
def test_the_adapter_sends_the_account_with_every_signed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    api = get_session().create_client("s3", region_name="eu-west-1", aws_access_key_id="k", aws_secret_access_key="s")

    def refuse(request: Any, **_: Any) -> None:
        sent.append(request.headers.get("x-amz-expected-bucket-owner"))
        raise ClientError({"Error": {"Code": "404"}}, "any")

    api.meta.events.register("before-send.s3", refuse)
    monkeypatch.setattr(client, "anonymous", lambda service, region: api)
    s3 = AwsS3("eu-west-1", "111122223333", lambda service, region: api)
    for call in (lambda: s3.get_object("b", "k"), lambda: s3.put_object("b", "k", b"", "text/plain"),
                 lambda: s3.delete_object("b", "k"), lambda: s3.policy("b"), lambda: s3.put_policy("b", "{}"),
                 lambda: s3.put_public_access_block("b", {"BlockPublicPolicy": False})):
        with pytest.raises(ClientError):
            call()
    assert s3.ownership("b") == "missing"
    assert sent == [b"111122223333"] * 7


def test_the_fake_refuses_a_bucket_of_somebody_else() -> None:
    s3 = FakeS3()
    s3.buckets["b"], s3.owners["b"] = None, "999999999999"
    assert s3.ownership("b") == "foreign"
    for call in (lambda: s3.get_object("b", "k"), lambda: s3.put_object("b", "k", b"", "text/plain"),
                 lambda: s3.delete_object("b", "k"), lambda: s3.policy("b"), lambda: s3.put_policy("b", "{}"),
                 lambda: s3.put_public_access_block("b", {"BlockPublicPolicy": False})):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    assert s3.objects == {} and s3.public_access == {}
