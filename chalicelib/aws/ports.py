"""The AWS services that an operation reaches, as one value per region. Tests use the fakes in testing/."""

from functools import cache

import msgspec

from chalicelib.aws.autoscaling import AutoScaling, AwsAutoScaling
from chalicelib.aws.client import Clients
from chalicelib.aws.ec2 import AwsEc2, Ec2
from chalicelib.aws.elb import AwsElb, Elb
from chalicelib.aws.functions import AwsFunctions, Functions
from chalicelib.aws.route53 import AwsRoute53, Route53
from chalicelib.aws.s3 import S3, AwsS3
from chalicelib.aws.secrets import AwsSecrets, Secrets
from chalicelib.aws.ssm import AwsSsm, Ssm


class AwsPorts(msgspec.Struct, frozen=True):
    """One region's services."""

    ec2: Ec2
    elb: Elb
    autoscaling: AutoScaling
    ssm: Ssm
    secrets: Secrets
    s3: S3
    route53: Route53
    functions: Functions


@cache
def real_ports(region: str, account: str) -> AwsPorts:
    """The real services of `region` for `account` (12 digits). No client is built before its first call."""
    return ports_at(region, account)


def ports_at(region: str, account: str, clients: Clients | None = None) -> AwsPorts:
    """The services of `region` by these boto3 clients, the process's own unless others are given."""
    return AwsPorts(AwsEc2(region, clients), AwsElb(region, clients), AwsAutoScaling(region, clients),
                    AwsSsm(region, clients), AwsSecrets(region, clients),
                    AwsS3(region, account, clients), AwsRoute53(region, clients), AwsFunctions(region, clients))
