"""The client of the deployed operations, against a Lambda service that answers as AWS does."""

import re
import socket
import time
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ProfileNotFound

from chalicelib import registry
from commands.errors import UsageError
from commands.operate import client
from tests.commands.operation_fakes import DENIED, DOWN, FLEET, GONE, TAIL, Lambdas, Silent, made


def test_an_answer_comes_with_its_log() -> None:
    lambdas = Lambdas({"acme-prod-schedules_why": lambda asked: {"status": "done", "message": asked["job"]}})
    answer = made(lambdas).invoke("schedules.why", {"job": "a"})
    assert answer == ("eu-west-1", {"status": "done", "message": "a"}, "", TAIL.splitlines(), ())


def test_a_log_that_is_cut_is_fetched_whole() -> None:
    lambdas = Lambdas({"acme-prod-schedules_why": lambda asked: {}}, tail="the end of a line\nEND RequestId: 1")
    assert made(lambdas).invoke("schedules.why", {}).log == ["line 0", "line 1", "line 2"]


def test_a_connection_that_waits_for_a_long_operation_is_kept_alive() -> None:
    """A NAT gateway drops what is idle for 350 s ("Troubleshoot NAT gateways", VPC user guide)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = client.kept_alive(boto3.client("lambda", "eu-west-1", config=client._CONFIG, aws_access_key_id="k",
                                              aws_secret_access_key="s"))
        pools = made._endpoint.http_session._manager
        pool = pools.connection_from_url(f"http://127.0.0.1:{server.getsockname()[1]}")
        connection = pool._get_conn()
        connection.connect()
        with connection.sock as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
                if hasattr(socket, option):
                    assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) < 350


def test_a_broken_operation_says_what_broke() -> None:
    error = {"errorType": "KeyError", "errorMessage": "'job'", "stackTrace": []}
    lambdas = Lambdas({"acme-prod-schedules_why": lambda asked: error}, broken=True)
    answer = made(lambdas).invoke("schedules.why", {})
    assert (answer.outcome, answer.error) == ({}, "KeyError: 'job'")


def test_an_unknown_operation_lists_those_there_are() -> None:
    lambdas = Lambdas({"acme-prod-schedules_why": dict, "acme-prod-tasks_peek": dict, "acme-test-tasks_work": dict,
                       "acme-prod-health_checks_rotate": dict})
    said = ("'schedules.wy' is not an operation; did you mean schedules.why? There are: health_checks.rotate, "
            "schedules.why, tasks.peek")
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        made(lambdas).invoke("schedules.wy", {})


def test_every_operation_has_its_name_in_the_list() -> None:
    assert [declared.name for declared in registry.lambdas() if client.operation_name(declared.function)
            != declared.name] == []


@pytest.mark.parametrize(("functions", "stage", "place", "said"), [
    ({}, "prod", "AWS", "no stage of acme is. Is this the right AWS account? ./lamp deploy --stage prod"),
    ({"acme-prod-schedules_why": dict, "acme-test-2-tasks_peek": dict}, "prdo", "AWS",
     "acme has prod, test-2 there. Name one of them with --stage"),
    ({}, "sandbox", "AWS", "none is up on this machine. Start ./lamp deploy --sandbox"),
    ({}, "prod", "the sandbox", "the sandbox has the regions that fleet.toml had at its start. End it, then"),
])
def test_a_stage_that_is_not_deployed_has_a_remedy_that_does_no_harm(
    functions: dict[str, Any], stage: str, place: str, said: str
) -> None:
    way = made(Lambdas(functions))
    way.stage, way.place = stage, place
    with pytest.raises(UsageError) as caught:
        way.invoke("schedules.why", {})
    assert f"{place}, eu-west-1: stage {stage!r} is not deployed; " in str(caught.value)
    assert str(caught.value).endswith(said) or said in str(caught.value)
    assert ("deploy --stage" in str(caught.value)) is (not functions and stage == "prod" and place == "AWS")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "AWS, eu-west-1, acme-prod-schedules_why: no AWS credentials found. Sign in"),
        (DENIED, r"AWS, eu-west-1, acme-prod-schedules_why: AWS denied Invoke \(not you\). Ask for that permission"),
        (DOWN, "acme-prod-schedules_why: Invoke: 503: Down"),
        (GONE, "acme-prod-schedules_why: Could not connect to the endpoint URL"),
        (ProfileNotFound(profile="prd"), r"The config profile \(prd\) could not be found. Set AWS_PROFILE"),
    ],
)
def test_what_goes_wrong_on_the_way_is_a_mistake_that_names_the_place(error: Exception, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(Silent(error)).invoke("schedules.why", {})


@pytest.mark.parametrize("error", [GONE, DOWN])
def test_the_next_region_is_asked_when_home_is_silent(error: Exception) -> None:
    lambdas = Lambdas({"acme-prod-schedules_why": lambda asked: {"status": "done"}})
    assert made(Silent(error), lambdas).ask("schedules.why", {}).region == "us-east-1"


def test_no_other_region_is_asked_for_what_home_refuses() -> None:
    with pytest.raises(UsageError, match="not you"):
        made(Silent(DENIED), Lambdas({"acme-prod-schedules_why": dict})).ask("schedules.why", {})


def test_all_regions_silent() -> None:
    with pytest.raises(UsageError) as caught:
        made(Silent(GONE), Silent(DOWN)).ask("schedules.why", {})
    assert len(str(caught.value).splitlines()) == 3


def test_what_only_reads_waits_for_a_minute_and_what_acts_as_long_as_it_may_take() -> None:
    lambdas = Lambdas({"acme-prod-schedules_why": dict})
    slow = client.OperationClient(FLEET, "prod", lambda *_: pytest.fail("would wait for 15 minutes"), "AWS",
                                  lambda service, region: lambdas)
    slow.ask("schedules.why", {})
    slow.ask("schedules.why", {}, "us-east-1")
    reading, acting = vars(client._READING), vars(client._CONFIG)
    assert len(lambdas.asked) == 2 and reading["read_timeout"] == 60 < 900 < acting["read_timeout"]
    assert reading["retries"] == acting["retries"] and reading["tcp_keepalive"]


@pytest.mark.parametrize(("asleep", "paused"), [(0, []), (1, [5]), (3, [5, 10, 15])])
def test_an_inactive_function_is_called_again_until_its_network_is_back(
    monkeypatch: pytest.MonkeyPatch, asleep: int, paused: list[int]
) -> None:
    lambdas, slept = Inactive(asleep), list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    answer = made(lambdas).invoke("schedules.why", {"job": "a"}, tail=False)
    assert answer.outcome == {"message": "a"} and slept == paused and lambdas.asked == [{"job": "a"}]


def test_a_function_that_stays_inactive_is_told_as_aws_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(UsageError, match="The function is inactive"):
        made(Inactive(99)).invoke("schedules.why", {"job": "a"})


class Inactive(Lambdas):
    """A function in a VPC that was idle for weeks. It denies so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__({"acme-prod-schedules_why": lambda asked: {"message": asked["job"]}})
        self.calls = calls

    def invoke(self, **asked: str) -> dict[str, object]:
        self.calls -= 1
        if self.calls >= 0:
            raise ClientError(
                {"Error": {"Code": "ResourceNotReadyException", "Message": "The function is inactive"}}, "Invoke")
        return super().invoke(**asked)
