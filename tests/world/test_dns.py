"""Route 53 in the embedded AWS is the twin: behind the same door and permissions, with checks that really probe."""

import json
import subprocess
import urllib.error
import urllib.request
from typing import Any

import dns.edns
import dns.message
import dns.query
import pytest
from botocore.exceptions import ClientError

from sandbox.world import Sandbox
from testing.eventually import SECONDS, eventually
from tests.world.conftest import make_lambda

pytestmark = pytest.mark.world
HOME = "eu-west-1"
LOOKS = """
import boto3
def handler(event, context):
    boto3.client("route53").get_health_check(HealthCheckId=event["id"])
    return "seen"
"""


@pytest.fixture(scope="module")
def zone(empty: Sandbox) -> str:
    """A hosted zone, example.com."""
    made = empty.client("route53", HOME).create_hosted_zone(Name="example.com", CallerReference="z")
    return str(made["HostedZone"]["Id"]).rpartition("/")[2]


def record(name: str, which: str, **more: Any) -> dict[str, Any]:
    """A change that makes a weighted A record."""
    return {"Action": "CREATE", "ResourceRecordSet": {
        "Name": name, "Type": "A", "SetIdentifier": which, "TTL": 10, **more}}


def asked(world: Sandbox, name: str, subnet: str = "") -> list[str]:
    """The addresses that a client of `subnet` is answered."""
    options: list[dns.edns.Option] = [dns.edns.ECSOption(subnet, 24)] if subnet else []
    query = dns.message.make_query(name, "A", use_edns=0, options=options)
    answer = dns.query.udp(query, "127.0.0.1", port=world.dns_port, timeout=SECONDS)
    return sorted(str(one) for rrset in answer.answer for one in rrset)


def test_places_decide_the_answer(empty: Sandbox, zone: str) -> None:
    empty.place("198.51.100.0/24", "EU", "SE")
    geo = [("EU", {"ContinentCode": "EU"}, "192.0.2.1"), ("*", {"CountryCode": "*"}, "192.0.2.2")]
    empty.client("route53", HOME).change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [
        record("geo.example.com", which, GeoLocation=place, ResourceRecords=[{"Value": address}])
        for which, place, address in geo]})
    assert asked(empty, "geo.example.com", "198.51.100.7") == ["192.0.2.1"]
    assert asked(empty, "geo.example.com") == ["192.0.2.2"]


def test_an_object_that_everybody_may_read_is_seen_by_an_inverted_check(empty: Sandbox, zone: str) -> None:
    s3, route53 = empty.client("s3", HOME), empty.client("route53", HOME)
    s3.create_bucket(Bucket="marks", CreateBucketConfiguration={"LocationConstraint": HOME})
    s3.put_public_access_block(Bucket="marks", PublicAccessBlockConfiguration={
        "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": False, "RestrictPublicBuckets": False})
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                 "Resource": "arn:aws:s3:::marks/evacuated/*"}
    s3.put_bucket_policy(Bucket="marks", Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))
    check = route53.create_health_check(CallerReference="open", HealthCheckConfig={
        "Type": "HTTPS", "Port": 443, "FullyQualifiedDomainName": f"marks.s3.{HOME}.amazonaws.com",
        "ResourcePath": "/evacuated/here", "EnableSNI": True, "Inverted": True, "RequestInterval": 10,
        "FailureThreshold": 1})["HealthCheck"]["Id"]
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [
        record("open.example.com", "1", Failover="PRIMARY", HealthCheckId=check,
               ResourceRecords=[{"Value": "192.0.2.1"}]),
        record("open.example.com", "2", Failover="SECONDARY", ResourceRecords=[{"Value": "192.0.2.2"}])]})
    eventually(lambda: asked(empty, "open.example.com") == ["192.0.2.1"])
    s3.put_object(Bucket="marks", Key="evacuated/here", Body=b"{}")
    eventually(lambda: asked(empty, "open.example.com") == ["192.0.2.2"])


@pytest.mark.parametrize(("path", "method", "status"), [
    ("marks/evacuated/here", "GET", 200), ("marks/secret", "GET", 403),
    ("marks/evacuated/here", "PUT", 405), ("marks/evacuated/here?acl", "GET", 405)])
def test_without_keys_only_public_objects_are_read(empty: Sandbox, path: str, method: str, status: int) -> None:
    empty.client("s3", HOME).put_object(Bucket="marks", Key="secret", Body=b"no")
    for address in (f"/_public/{HOME}/{path}", f"/{path}"):
        request = urllib.request.Request(empty.endpoint + address, method=method)  # noqa: S310
        assert _status(request) == status


def _status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_web_page_reads_nothing_and_a_dead_region_shows_nothing(empty: Sandbox) -> None:
    address = f"{empty.endpoint}/_public/{HOME}/marks/evacuated/here"
    assert _status(urllib.request.Request(address, headers={"Origin": "http://a"})) == 403  # noqa: S310
    empty.stop_region(HOME)
    try:
        assert _status(urllib.request.Request(address)) == 503  # noqa: S310
    finally:
        empty.start_region(HOME)


def test_permissions_hold_for_each_health_check(empty: Sandbox) -> None:
    made = [empty.client("route53", HOME).create_health_check(CallerReference=name, HealthCheckConfig={
        "Type": "TCP", "Port": 80, "IPAddress": "127.0.0.1"})["HealthCheck"]["Id"] for name in ("mine", "other")]
    allow = [{"Effect": "Allow", "Action": "route53:GetHealthCheck",
              "Resource": f"arn:aws:route53:::healthcheck/{made[0]}"}]
    make_lambda(empty, HOME, "looks", LOOKS, allow=allow)

    def invoke(id: str) -> str:
        answer = empty.client("lambda", HOME).invoke(FunctionName="looks", Payload=json.dumps({"id": id}))
        return str(answer["Payload"].read().decode())

    assert invoke(made[0]) == '"seen"'
    assert "is not authorized to perform: route53:GetHealthCheck" in invoke(made[1])


def test_answers_go_on_while_the_api_is_away(empty: Sandbox, zone: str) -> None:
    client = empty.client("route53", HOME)
    empty.refuse_route53()
    try:
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            client.get_hosted_zone(Id=zone)
        assert asked(empty, "geo.example.com") == ["192.0.2.2"]
    finally:
        empty.mend_route53()
    empty.stop_region("us-east-1")
    try:
        with pytest.raises(ClientError, match="us-east-1 is stopped"):
            client.get_hosted_zone(Id=zone)
        assert asked(empty, "geo.example.com") == ["192.0.2.2"]
    finally:
        empty.start_region("us-east-1")


def test_dig_is_answered(empty: Sandbox, zone: str) -> None:
    words = ["dig", "@127.0.0.1", "-p", str(empty.dns_port), "geo.example.com", "+subnet=198.51.100.0/24", "+short"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "192.0.2.1"
