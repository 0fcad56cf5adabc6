"""The partition of a region, which is a part of each ARN."""

import pytest
from botocore.session import Session

from chalicelib.config.declared import partition
from chalicelib.routing.evacuation_flags import statement

AWS = Session()
REGIONS = [(region, name) for name in AWS.get_available_partitions()
           for region in AWS.get_available_regions("s3", name)]


@pytest.mark.parametrize(("region", "name"), REGIONS)
def test_the_partition_of_a_region_is_that_of_aws(region: str, name: str) -> None:
    assert partition(region) == name


def test_a_statement_names_the_bucket_in_its_partition() -> None:
    assert statement("flags", "cn-north-1")["Resource"] == "arn:aws-cn:s3:::flags/evacuated/*"
    assert statement("flags", "eu-west-1")["Resource"] == "arn:aws:s3:::flags/evacuated/*"
