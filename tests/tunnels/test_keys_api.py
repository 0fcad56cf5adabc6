"""What is made of AWS's answers, and of what it refuses, when a key is changed."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from chalicelib.aws.client import Unavailable
from chalicelib.engine.operation import Rejected
from chalicelib.tunnels.keys import aws as keys_api
from chalicelib.tunnels.keys.aws import AwsKeys
from chalicelib.tunnels.keys.decide import Host
from chalicelib.tunnels.keys.openssh import Key, shared

HERE, MASTER, STACK = "eu-west-1", "us-east-1", "f-s"
A, B = (f"{letter * 8}-0000-0000-0000-000000000000" for letter in "ab")
LINE = Key(bytes(32), A).line()


class Aws:
    """Answers by call; an answer that is an exception is raised. Remembers what was asked, and where."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, str, dict[str, Any]]] = []

    def __call__(self, service: str, region: str) -> "Aws":
        self._place = service, region
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.asked.append((*self._place, name, arguments))
            answer = self.answers.get(name, {})
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def error(code: str, status: int = 400) -> ClientError:
    """As botocore raises it."""
    answer: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Op")


def keys(**answers: Any) -> tuple[AwsKeys, Aws]:
    """The calls of one region over these answers."""
    aws = Aws(**answers)
    return AwsKeys(HERE, [MASTER], STACK, aws), aws


@pytest.mark.parametrize(("stages", "found"), [
    ({}, ("", "")), ({A: ["AWSCURRENT"]}, (A, "")), ({A: ["AWSCURRENT"], B: ["AWSPENDING"]}, (A, B)),
    ({A: ["AWSPREVIOUS"], B: ["AWSCURRENT"]}, (B, "")),
    # The first version of all gets both labels.
    ({A: ["AWSCURRENT", "AWSPENDING"]}, (A, "")),
])
def test_versions_by_label(stages: dict[str, list[str]], found: tuple[str, str]) -> None:
    made, aws = keys(describe_secret={"VersionIdsToStages": stages} if stages else {})
    assert made.versions() == found and aws.asked[0][3] == {"SecretId": "f-s-tunnels-key"}


def test_the_far_side_is_told_in_the_masters_region_under_this_regions_name() -> None:
    made, aws = keys(get_parameter={"Parameter": {"Value": f"{LINE}\nrubbish"}})
    assert made.published() == [{A: LINE}]
    made.publish([LINE])
    made.publish([])
    name = f"/lamplighter/f-s/tunnels/public-keys/{HERE}"
    assert [one[:3] for one in aws.asked] == [("ssm", MASTER, "get_parameter")] + [("ssm", MASTER, "put_parameter")] * 2
    assert {one[3]["Name"] for one in aws.asked} == {name}
    assert [one[3]["Value"] for one in aws.asked[1:]] == [LINE, "# no key"]  # a parameter is never empty


def test_every_gateway_is_told_and_what_only_some_know_is_told_apart() -> None:
    aws = Aws()
    made = AwsKeys(HERE, [MASTER, HERE], STACK, aws)
    made.publish([LINE])
    assert [(one[1], one[2]) for one in aws.asked] == [(MASTER, "put_parameter"), (HERE, "put_parameter")]
    other = Key(bytes(range(32)), B).line()
    told = {MASTER: f"{LINE}\n{other}", HERE: LINE}

    def client(service: str, region: str) -> Aws:
        return Aws(get_parameter={"Parameter": {"Value": told[region]}})(service, region)

    made = AwsKeys(HERE, [MASTER, HERE], STACK, client)
    assert shared(made.published()) == ({A: LINE}, {B: other})
    assert shared(AwsKeys(HERE, [HERE], STACK, client).published()) == ({A: LINE}, {})


def test_before_anything_was_told_nothing_is_known() -> None:
    assert keys(get_parameter=error("ParameterNotFound"))[0].published() == [{}]


@pytest.mark.parametrize(("answers", "call", "said"), [
    ({"describe_secret": error("ResourceNotFoundException")}, "versions", "no secret f-s-tunnels-key: deploy"),
    ({"describe_auto_scaling_groups": {"AutoScalingGroups": []}}, "hosts", "no Auto Scaling group f-s-tunnels: deploy"),
    ({"describe_auto_scaling_groups": {"AutoScalingGroups": [{"Instances": []}]},
      "describe_target_groups": error("TargetGroupNotFound")}, "hosts", "the target group f-s-tunnels in eu-west-1"),
])
def test_what_is_not_deployed_is_named_with_its_remedy(answers: dict[str, Any], call: str, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        getattr(keys(**answers)[0], call)()


@pytest.mark.parametrize("failure", [error("InternalError", 500), error("ThrottlingException"),
                                     ReadTimeoutError(endpoint_url="https://example.com")])
def test_a_region_that_does_not_answer_is_asked_again_later(failure: Exception) -> None:
    for call in ("versions", "published"):
        with pytest.raises(Unavailable):
            getattr(keys(describe_secret=failure, get_parameter=failure)[0], call)()


def test_any_other_refusal_is_told_as_it_is() -> None:
    refused = error("AccessDeniedException")
    made, _ = keys(describe_secret=refused, get_parameter=refused, get_command_invocation=refused)
    for call in (made.versions, made.published, lambda: made.reply("c", "i")):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


def test_hosts_are_the_members_that_stay_and_their_health_is_the_balancers() -> None:
    states = {"i-1": "InService", "i-2": "Pending", "i-3": "Terminating", "i-4": "Detaching", "i-5": "Terminating:Wait"}
    health = [{"Target": {"Id": id}, "TargetHealth": {"State": state}}
              for id, state in (("i-1", "healthy"), ("i-3", "healthy"), ("i-2", "initial"))]
    made, _ = keys(
        describe_auto_scaling_groups={"AutoScalingGroups": [{"Instances": [
            {"InstanceId": id, "LifecycleState": state} for id, state in states.items()]}]},
        describe_target_groups={"TargetGroups": [{"TargetGroupArn": "arn"}]},
        describe_target_health={"TargetHealthDescriptions": health})
    assert made.hosts() == (Host("i-1", True, True), Host("i-2", False, False))


def test_a_command_is_the_documents_second_word_and_is_running_until_it_is_known() -> None:
    made, aws = keys(send_command={"Command": {"CommandId": "c-1"}},
                     get_command_invocation=error("InvocationDoesNotExist"))
    assert made.reload("i-1") == "c-1"
    assert aws.asked[0][3] == {"InstanceIds": ["i-1"], "DocumentName": "f-s-tunnels", "TimeoutSeconds": 60,
                               "Parameters": {"Action": ["reload-keys"]}}
    assert made.reply("c-1", "i-1").state == "running"


def test_labels_move_so_that_one_version_is_current_at_any_moment() -> None:
    made, aws = keys()
    made.promote(B, A)
    made.promote(B, "")
    made.discard(B)
    moves = [{name: value for name, value in one[3].items() if name != "SecretId"} for one in aws.asked]
    off = {"VersionStage": "AWSPENDING", "RemoveFromVersionId": B}
    assert moves == [{"VersionStage": "AWSCURRENT", "MoveToVersionId": B, "RemoveFromVersionId": A}, off,
                     {"VersionStage": "AWSCURRENT", "MoveToVersionId": B}, off, off]


def test_nothing_here_reads_a_private_key() -> None:
    made, aws = keys()
    made.store(Key(bytes(32), A))
    assert aws.asked[0][2:] == ("put_secret_value", {
        "SecretId": "f-s-tunnels-key", "ClientRequestToken": A, "VersionStages": ["AWSPENDING"],
        "SecretString": Key(bytes(32), A).private()})
    assert "get_secret_value" not in inspect.getsource(keys_api)
