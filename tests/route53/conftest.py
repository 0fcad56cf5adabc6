"""A twin whose time stands still, and boto3's client for it."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from sandbox.route53.service import Settings
from sandbox.route53.throttle import Rate
from sandbox.route53.twin import Twin

PLENTY = Rate(1e6, 1e6)


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


ONCE = Config(retries={"total_max_attempts": 1})


def client_of(twin: Twin, config: Config = ONCE) -> Any:
    """boto3's own client, which by default asks once and does not try again."""
    return boto3.client(
        "route53", endpoint_url=twin.endpoint, region_name="us-east-1", aws_access_key_id="any",
        aws_secret_access_key="any", config=config)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def twin(clock: Callable[[], float]) -> Iterator[Twin]:
    with Twin(Settings(rate=PLENTY), clock=clock, checking=False) as running:
        yield running


@pytest.fixture
def client(twin: Twin) -> Any:
    return client_of(twin)


@pytest.fixture
def zone(client: Any) -> str:
    """The id of the hosted zone example.com."""
    return str(client.create_hosted_zone(Name="example.com", CallerReference="zone")["HostedZone"]["Id"])
