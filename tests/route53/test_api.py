"""The API as boto3's own client sees it."""

import http.client
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from sandbox.route53.errors import Refusal
from sandbox.route53.service import Fault, Settings
from sandbox.route53.state import Resource
from sandbox.route53.throttle import PUBLISHED, Bucket, Rate
from sandbox.route53.twin import Twin
from sandbox.route53.wire import NAMESPACE, Wire
from testing.eventually import SECONDS
from tests.route53.conftest import PLENTY, Clock, client_of
from tests.route53.zones import alias, geo, simple, weighted

WEB = {"Type": "HTTP", "IPAddress": "127.0.0.1", "Port": 1234, "RequestInterval": 10}


def change(client: Any, zone: str, *changes: tuple[str, dict[str, Any]]) -> Any:
    """One batch."""
    batch = [{"Action": action, "ResourceRecordSet": record} for action, record in changes]
    return client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Comment": "x", "Changes": batch})


def refused(call: Any, /, **arguments: Any) -> tuple[str, str, int]:
    """Error code, message and HTTP status of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.slow
def test_a_new_zone_has_its_name_servers(client: Any, zone: str) -> None:
    found = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [(record["Name"], record["Type"]) for record in found] == [("example.com.", "NS"), ("example.com.", "SOA")]
    assert zone.startswith("/hostedzone/Z")
    got = client.get_hosted_zone(Id=zone)
    assert (got["HostedZone"]["Name"], got["HostedZone"]["ResourceRecordSetCount"]) == ("example.com.", 2)
    assert [server["Value"] for server in found[0]["ResourceRecords"]] == got["DelegationSet"]["NameServers"]


@pytest.mark.slow
def test_zones_are_listed_in_pages(client: Any) -> None:
    made = [client.create_hosted_zone(Name=f"z{number}.example", CallerReference=str(number))["HostedZone"]["Id"]
            for number in range(5)]
    pages = list(client.get_paginator("list_hosted_zones").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["HostedZones"]) for page in pages] == [2, 2, 1]
    assert [zone["Id"] for page in pages for zone in page["HostedZones"]] == made
    assert refused(client.list_hosted_zones, Marker="nowhere")[0] == "InvalidInput"
    assert refused(client.create_hosted_zone, Name="a.b", CallerReference="1")[::2] == ("HostedZoneAlreadyExists", 409)


@pytest.mark.parametrize("name", ["com", "a..b", "a" * 64 + ".com"])
def test_a_zone_needs_a_domain_name(client: Any, name: str) -> None:
    assert refused(client.create_hosted_zone, Name=name, CallerReference="1")[0] == "InvalidDomainName"


@pytest.mark.slow
def test_record_sets_come_back_as_they_were_sent(client: Any, zone: str, twin: Twin) -> None:
    twin.service.resource("lb.elb.amazonaws.com", Resource("ZELB", ("127.0.1.1",)))
    check = client.create_health_check(CallerReference="1", HealthCheckConfig=WEB)["HealthCheck"]["Id"]
    outside = {"HostedZoneId": "ZELB", "DNSName": "lb.elb.amazonaws.com.", "EvaluateTargetHealth": False}
    records = [
        simple("192.0.2.1", "a.example.com.", **geo("c:US-CA"), HealthCheckId=check),
        simple("192.0.2.2", "a.example.com.", **geo("c:*")),
        {"Name": "b.example.com.", "Type": "A", "AliasTarget": outside, **weighted(0, "b")},
        simple("192.0.2.1", "c.example.com.", MultiValueAnswer=True, SetIdentifier="c"),
        simple('"a & <b>"', "d.example.com.", Type="TXT")]
    change(client, zone, *(("CREATE", record) for record in records))
    found = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert sorted(map(str, (dict(sorted(record.items())) for record in found[2:]))) == sorted(
        map(str, (dict(sorted(record.items())) for record in records)))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 7, 300])
def test_record_sets_are_listed_in_pages_without_gap_or_repeat(client: Any, zone: str, size: int) -> None:
    names = ["a", "a.b", "*", "z-z", "z"]
    change(client, zone, *(("CREATE", simple("192.0.2.1", f"{name}.example.com")) for name in names),
           *(("CREATE", simple("192.0.2.1", "w.example.com", **weighted(1, str(number)))) for number in range(9)))
    whole = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    pages = list(client.get_paginator("list_resource_record_sets").paginate(
        HostedZoneId=zone, PaginationConfig={"PageSize": size}))
    assert [record for page in pages for record in page["ResourceRecordSets"]] == whole
    assert len(pages) == -(-16 // size)
    assert [record["Name"] for record in whole][2] == "\\052.example.com."


@pytest.mark.slow
def test_a_list_begins_where_it_is_told(client: Any, zone: str) -> None:
    change(client, zone, ("CREATE", simple("192.0.2.1", "b.example.com")),
    ("CREATE", simple("::1", "b.example.com", Type="AAAA")))
    def first(**where: str) -> tuple[str, str]:
        record = client.list_resource_record_sets(HostedZoneId=zone, **where)["ResourceRecordSets"][0]
        return record["Name"], record["Type"]
    assert first(StartRecordName="a.example.com") == ("b.example.com.", "A")
    assert first(StartRecordName="B.example.com.", StartRecordType="AAAA") == ("b.example.com.", "AAAA")
    assert refused(client.list_resource_record_sets, HostedZoneId=zone, StartRecordType="A")[0] == "InvalidInput"


def test_a_batch_is_all_or_nothing(client: Any, zone: str) -> None:
    new = simple("192.0.2.1", "new.example.com")
    code, message, status = refused(lambda: change(
        client, zone, ("CREATE", new), ("CREATE", alias("ghost.example.com")), ("DELETE", simple("192.0.2.1"))))
    assert (code, status) == ("InvalidChangeBatch", 400)
    assert message.startswith("[Tried to create an alias that targets ghost.example.com., type A in zone ZEXAMPLE,")
    assert message.endswith("but it was not found]")
    assert len(client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]) == 2


def test_a_change_is_pending_until_it_is_everywhere(clock: Clock) -> None:
    with Twin(Settings(propagation=60, rate=PLENTY), clock=clock, checking=False) as twin:
        client = client_of(twin)
        zone = client.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
        clock.now += 60
        info = change(client, zone, ("CREATE", simple("192.0.2.1")))["ChangeInfo"]
        assert (info["Status"], info["SubmittedAt"].timestamp()) == ("PENDING", clock.now)
        assert not served(twin)
        clock.now += 59
        assert client.get_change(Id=info["Id"])["ChangeInfo"]["Status"] == "PENDING"
        clock.now += 1
        assert client.get_change(Id=info["Id"])["ChangeInfo"]["Status"] == "INSYNC"
        assert served(twin)
    assert info["Id"].startswith("/change/C")


def served(twin: Twin) -> bool:
    """Whether the name servers know www.example.com."""
    return twin.address("www.example.com") is not None


def test_what_is_not_there(client: Any) -> None:
    assert refused(client.get_change, Id="CNONE")[::2] == ("NoSuchChange", 404)
    assert refused(client.list_resource_record_sets, HostedZoneId="ZNONE")[::2] == ("NoSuchHostedZone", 404)
    for name in ("get_health_check", "delete_health_check", "get_health_check_status"):
        assert refused(getattr(client, name), HealthCheckId="none")[::2] == ("NoSuchHealthCheck", 404)
    assert refused(client.update_health_check, HealthCheckId="none", Port=1)[0] == "NoSuchHealthCheck"


def test_a_health_check_lives_its_life(client: Any) -> None:
    made = client.create_health_check(CallerReference="1", HealthCheckConfig=WEB)
    check = made["HealthCheck"]
    assert (made["ResponseMetadata"]["HTTPStatusCode"], check["HealthCheckVersion"]) == (201, 1)
    assert made["Location"].endswith(check["Id"])
    assert check["HealthCheckConfig"] == WEB | {
        "FailureThreshold": 3, "MeasureLatency": False, "Inverted": False, "Disabled": False, "EnableSNI": False}
    id = check["Id"]
    second = client.update_health_check(HealthCheckId=id, HealthCheckVersion=1, Port=81, Inverted=True)["HealthCheck"]
    assert (second["HealthCheckVersion"], second["HealthCheckConfig"]["Port"]) == (2, 81)
    assert client.get_health_check(HealthCheckId=id)["HealthCheck"] == second
    assert refused(client.update_health_check, HealthCheckId=id, HealthCheckVersion=1, Port=82)[::2] == (
        "HealthCheckVersionMismatch", 409)
    client.delete_health_check(HealthCheckId=id)
    assert refused(client.get_health_check, HealthCheckId=id)[0] == "NoSuchHealthCheck"
    assert refused(client.create_health_check, CallerReference="1", HealthCheckConfig=WEB)[::2] == (
        "HealthCheckAlreadyExists", 409)


def test_a_reference_makes_a_check_once(client: Any) -> None:
    made = [client.create_health_check(CallerReference="1", HealthCheckConfig=WEB)["HealthCheck"] for _ in range(2)]
    assert made[0] == made[1]
    assert refused(client.create_health_check, CallerReference="1", HealthCheckConfig=WEB | {"Port": 2})[0] == (
        "HealthCheckAlreadyExists")


@pytest.mark.slow
def test_calculated_and_metric_checks_keep_all_their_fields(client: Any) -> None:
    child = client.create_health_check(CallerReference="1", HealthCheckConfig=WEB)["HealthCheck"]["Id"]
    for number, config in enumerate((
            {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": [child], "Inverted": True,
             "Disabled": False},
            {"Type": "CLOUDWATCH_METRIC", "AlarmIdentifier": {"Region": "eu-west-1", "Name": "slow"}, "Inverted": False,
             "Disabled": True, "InsufficientDataHealthStatus": "Unhealthy"})):
        made = client.create_health_check(CallerReference=f"c{number}", HealthCheckConfig=config)["HealthCheck"]
        assert client.get_health_check(HealthCheckId=made["Id"])["HealthCheck"]["HealthCheckConfig"] == config
        assert refused(client.get_health_check_status, HealthCheckId=made["Id"])[0] == "InvalidInput"


@pytest.mark.slow
def test_checks_are_listed_in_pages_and_limited(client: Any) -> None:
    for number in range(200):
        client.create_health_check(CallerReference=str(number), HealthCheckConfig=WEB)
    pages = list(client.get_paginator("list_health_checks").paginate(PaginationConfig={"PageSize": 90}))
    assert [len(page["HealthChecks"]) for page in pages] == [90, 90, 20]
    found = [check["CallerReference"] for page in pages for check in page["HealthChecks"]]
    assert found == [str(number) for number in range(200)]
    assert refused(client.create_health_check, CallerReference="x", HealthCheckConfig=WEB)[0] == "TooManyHealthChecks"
    assert refused(client.list_health_checks, Marker="none")[0] == "InvalidInput"
    assert refused(client.list_health_checks, MaxItems="0")[0] == "InvalidInput"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "get"), [("healthcheck", "create_health_check"), ("hostedzone", "")])
def test_tags(client: Any, zone: str, kind: str, get: str) -> None:
    id = zone.split("/")[2]
    if get:
        id = client.create_health_check(CallerReference="1", HealthCheckConfig=WEB)["HealthCheck"]["Id"]
    which = {"ResourceType": kind, "ResourceId": id}
    client.change_tags_for_resource(**which, AddTags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    client.change_tags_for_resource(**which, AddTags=[{"Key": "a", "Value": "3"}], RemoveTagKeys=["b"])
    found = client.list_tags_for_resource(**which)["ResourceTagSet"]
    assert found == {**which, "Tags": [{"Key": "a", "Value": "3"}]}
    eleven = [{"Key": str(number), "Value": ""} for number in range(10)]
    assert refused(client.change_tags_for_resource, **which, AddTags=eleven)[0] == "InvalidInput"


def test_five_calls_a_second(clock: Clock) -> None:
    with Twin(clock=clock, checking=False) as twin:
        client = client_of(twin)
        for _ in range(5):
            client.list_hosted_zones()
        assert refused(client.list_hosted_zones) == ("Throttling", "Rate exceeded", 400)
        clock.now += 0.2
        client.list_hosted_zones()
        assert refused(client.list_hosted_zones)[0] == "Throttling"
        assert twin.service.calls["ListHostedZones"] == 8


@given(st.lists(st.floats(0, 3), max_size=60), st.sampled_from([Rate(), PUBLISHED]))
def test_never_more_calls_than_the_rate_allows(pauses: list[float], rate: Rate) -> None:
    clock = Clock()
    start, taken, bucket = clock.now, 0, Bucket(rate, clock)
    for pause in pauses:
        clock.now += pause
        try:
            bucket.take()
        except Refusal:
            continue
        taken += 1
        assert taken <= rate.burst + rate.rate * (clock.now - start) + 1e-3


def test_faults_refuse_what_they_name(client: Any, twin: Twin) -> None:
    twin.service.faults.append(Fault("ListHostedZones", "Throttling", times=2, after=1))
    client.list_hosted_zones()
    assert [refused(client.list_hosted_zones)[0] for _ in range(2)] == ["Throttling"] * 2
    client.list_hosted_zones()
    twin.service.faults.append(Fault("*", times=-1))
    assert [refused(client.list_health_checks)[::2] for _ in range(3)] == [("ServiceUnavailable", 503)] * 3


def test_an_operation_that_is_not_there_says_so(client: Any) -> None:
    code, message, _ = refused(client.get_checker_ip_ranges)
    assert (code, message) == ("InvalidAction", "this twin does not know GetCheckerIpRanges")


NONE: dict[str, str] = {}


def ask(twin: Twin, method: str, path: str, body: bytes = b"", headers: dict[str, str] = NONE) -> tuple[int, bytes]:
    """A request that boto3 would not make."""
    connection = http.client.HTTPConnection(twin.endpoint.removeprefix("http://"), timeout=SECONDS)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Host": "evil.example:80"}])
def test_a_web_page_gets_no_answer(twin: Twin, headers: dict[str, str]) -> None:
    status, body = ask(twin, "GET", "/2013-04-01/hostedzone", b"", headers)
    assert status == 400
    assert b"<Code>AccessDenied</Code>" in body
    assert twin.service.calls.total() == 0


# Without its declaration this would be a hosted zone.
BOMB = (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><R xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
        b"<Name>&a;.example</Name><CallerReference>1</CallerReference></R>")


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"<", b"<a/>", b"\xff", BOMB,
    BOMB.decode().encode("utf-16"), b"<a>" * 500])
def test_what_is_not_a_request_is_refused(twin: Twin, body: bytes) -> None:
    status, answer = ask(twin, "POST", "/2013-04-01/hostedzone", body)
    assert status == 400
    assert b"<Code>InvalidInput</Code>" in answer


def test_a_body_without_end_is_refused(twin: Twin) -> None:
    for length in ("-1", "many", "99999999"):
        assert ask(twin, "POST", "/2013-04-01/hostedzone", b"", {"Content-Length": length})[0] == 400


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/2013-04-01/nothing"),
("DELETE", "/2013-04-01/hostedzone")])
def test_what_is_no_path_is_refused(twin: Twin, method: str, path: str) -> None:
    status, body = ask(twin, method, path)
    assert status == 400
    assert b"<Code>InvalidAction</Code>" in body


@pytest.mark.parametrize(("field", "value"), [
    ("<Port>many</Port>", "integer"), ("<Inverted>maybe</Inverted>", "boolean"), ("<Type>PING</Type>", "none of")])
def test_values_that_are_not_of_their_type_are_refused(twin: Twin, field: str, value: str) -> None:
    config = f"<HealthCheckConfig><Type>HTTP</Type>{field}</HealthCheckConfig>".replace("<Type>HTTP</Type><Type>",
     "<Type>")
    body = f'<R xmlns="{NAMESPACE}"><CallerReference>1</CallerReference>{config}</R>'
    status, answer = ask(twin, "POST", "/2013-04-01/healthcheck", body.encode())
    assert (status, value in answer.decode()) == (400, True)


WIRE = Wire()


@pytest.mark.slow
@given(st.binary(max_size=200) | st.text("<>/aA&; \"=!?[]").map(str.encode), st.text(max_size=20), st.text(max_size=20))
def test_any_body_is_read_or_refused(body: bytes, path: str, query: str) -> None:
    for where in ("/2013-04-01/hostedzone", "/2013-04-01/healthcheck", "/2013-04-01/hostedzone/Z/rrset/", path):
        try:
            name, _ = WIRE.asked("POST", where, query, body)
        except Refusal as refusal:
            assert refusal.code in ("InvalidInput", "InvalidAction")
        else:
            assert name
