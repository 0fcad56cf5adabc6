"""The names of the buckets for packages."""

import pytest

from chalicelib.config.declared import LONGEST_NAME
from commands.deploy import bucket


@pytest.mark.parametrize(("region", "end"), [
    ("eu-west-1", "-eu-west-1-an"), ("ap-southeast-1", "-ap-southeast-1-an"), ("me-south-1", "-me-south-1")])
def test_a_bucket_lies_in_the_accounts_own_namespace_where_aws_has_that(region: str, end: str) -> None:
    name = bucket.name_of("n" * LONGEST_NAME, region, "123456789012")
    assert name.endswith(f"-123456789012{end}") and len(name) <= 63
