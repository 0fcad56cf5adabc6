"""The embedded AWS: who may talk to it, what its Lambdas see, how it breaks on demand, and that nothing is left."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from sandbox import processes
from sandbox.auth_middleware import SECRET_HEADER
from sandbox.server import ROOT
from sandbox.world import Sandbox, WorldError
from testing.eventually import SECONDS, eventually
from tests.world.conftest import make_lambda

pytestmark = pytest.mark.world
HOME, OTHER = "eu-west-1", "us-east-1"
ALL = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


def call(world: Sandbox, key: str, secret: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """A ListQueues signed with `key` and `secret`, with more `headers`; status and body."""
    body = b"{}"
    request = AWSRequest("POST", world.endpoint + "/", data=body, headers={
        "X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"})
    if key:
        SigV4Auth(Credentials(key, secret), "sqs", HOME).add_auth(request)
    return ask(world.endpoint + "/", body, {**dict(request.headers.items()), **(headers or {})})


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body of the answer."""
    request = urllib.request.Request(url, body, headers or {})  # noqa: S310 - loopback, as the fixture made it
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_operator_is_let_in(empty: Sandbox) -> None:
    assert call(empty, empty.state.access_key, empty.state.secret_key)[0] == 200


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "localhost.evil.test"}])
def test_a_web_page_is_refused_even_with_good_keys(empty: Sandbox, headers: dict[str, str]) -> None:
    status, body = call(empty, empty.state.access_key, empty.state.secret_key, headers)
    assert (status, "web pages" in body) == (403, True)


@pytest.mark.parametrize("key", ["", "test", "111122223333", "000000000000", "AKIAIOSFODNN7EXAMPLE"])
def test_keys_of_another_run_and_the_emulators_own_are_refused(empty: Sandbox, key: str) -> None:
    status, body = call(empty, key, "test")
    assert (status, "keys of its own run" in body) == (403, True)


def test_the_right_key_with_the_wrong_secret_is_refused(empty: Sandbox) -> None:
    status, body = call(empty, empty.state.access_key, "guessed")
    assert status == 403 and "signature" in body.lower()


@pytest.mark.parametrize("path", ["_ministack/reset", "_ministack/health", "_ministack/config", "_aws/sqs/messages"])
def test_the_emulators_own_doors_are_shut(empty: Sandbox, path: str) -> None:
    assert ask(f"{empty.endpoint}/{path}")[0] == 403


@pytest.mark.parametrize("secret", ["", "guessed"])
def test_the_control_door_wants_the_secret(empty: Sandbox, secret: str) -> None:
    asked = ask(f"{empty.endpoint}/_world/stop", b'{"region": "eu-west-1"}', {SECRET_HEADER: secret})
    assert asked[0] == 403
    assert empty.control("stopped") == []


def test_a_wrong_control_command_is_told_in_words(empty: Sandbox) -> None:
    with pytest.raises(WorldError, match="'burn' is not a command"):
        empty.control("burn")
    with pytest.raises(WorldError, match="region"):
        empty.control("stop")


def test_it_listens_on_loopback_only(empty: Sandbox) -> None:
    port = int(empty.endpoint.rsplit(":", 1)[1])
    inode_owner = Path(f"/proc/{empty.state.pid}/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in inode_owner if line.split()[3] == "0A"]
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_a_lambda_sees_neither_this_machines_environment_nor_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the user's own")
    monkeypatch.setenv("CANARY", "of the host")
    source = """
    import os, sys
    def handler(event, context):
        try:
            import chalice
        except ImportError:
            chalice = None
        import boto3
        return {"env": dict(os.environ), "path": sys.path, "chalice": chalice is not None}
    """
    with Sandbox.start() as world:
        make_lambda(world, HOME, "see", textwrap.dedent(source))
        seen = json.loads(world.client("lambda", HOME).invoke(FunctionName="see")["Payload"].read())
    values = " ".join(seen["env"].values())
    for secret in ("the user's own", "of the host", world.state.secret_key, world.state.control):
        assert secret not in values
    assert not {"CANARY", "AUTH", "GATEWAY_PORT", "HOME"} & seen["env"].keys()
    assert not seen["chalice"] and not [path for path in seen["path"] if "site-packages" in path]


def test_a_stopped_region_answers_nobody_and_comes_back_with_all_it_had(empty: Sandbox) -> None:
    empty.client("sqs", HOME).create_queue(QueueName="kept")
    empty.stop_region(HOME)
    try:
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            empty.client("sqs", HOME).list_queues()
        empty.client("sqs", OTHER).list_queues()
    finally:
        empty.start_region(HOME)
    assert "kept" in empty.client("sqs", HOME).list_queues(QueueNamePrefix="kept")["QueueUrls"][0]


SLEEPER = """
import subprocess, boto3
def handler(event, context):
    child = subprocess.Popen(["sleep", "300"], env={}, start_new_session=True)
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=str(child.pid))
    child.wait()
"""


def test_stopping_a_region_kills_its_lambdas_and_what_they_started(empty: Sandbox) -> None:
    pids = {}
    for region in (HOME, OTHER):
        queue = empty.client("sqs", region).create_queue(QueueName="pids")["QueueUrl"]
        make_lambda(empty, region, "sleeper", SLEEPER, allow=ALL, timeout=300)
        empty.client("lambda", region).invoke(
            FunctionName="sleeper", InvocationType="Event", Payload=json.dumps({"queue": queue}))
        pids[region] = int(eventually(lambda r=region, q=queue: empty.client("sqs", r).receive_message(
            QueueUrl=q).get("Messages"))[0]["Body"])  # type: ignore[misc]
    empty.stop_region(HOME)
    try:
        eventually(lambda: not alive(pids[HOME]) and not processes.marked(f"{empty.state.mark}/{HOME}"))
        assert alive(pids[OTHER]), "another region's Lambda was killed too"
    finally:
        empty.start_region(HOME)


def test_a_stopped_region_polls_no_queue(empty: Sandbox) -> None:
    sqs, source = empty.client("sqs", HOME), "def handler(event, context): return {}"
    queue = sqs.create_queue(QueueName="polled", Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    make_lambda(empty, HOME, "poller", source)
    sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=1)
    empty.client("lambda", HOME).create_event_source_mapping(FunctionName="poller", EventSourceArn=arn)
    empty.stop_region(HOME)
    # Another region's mapping proves that the poller has gone round after the message became visible.
    other = empty.client("sqs", OTHER)
    queue2 = other.create_queue(QueueName="polled2")["QueueUrl"]
    arn2 = other.get_queue_attributes(QueueUrl=queue2, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    make_lambda(empty, OTHER, "poller", source)
    empty.client("lambda", OTHER).create_event_source_mapping(FunctionName="poller", EventSourceArn=arn2)
    other.send_message(QueueUrl=queue2, MessageBody="x", DelaySeconds=2)
    eventually(lambda: depth(other, queue2) == 0)
    empty.start_region(HOME)
    assert depth(sqs, queue) == 1
    eventually(lambda: depth(sqs, queue) == 0)


def test_a_malformed_batch_response_returns_the_batch(empty: Sandbox) -> None:
    sqs = empty.client("sqs", HOME)
    # The message stays hidden for longer than any run takes, so that only this test brings it back.
    queue = sqs.create_queue(QueueName="malformed", Attributes={"VisibilityTimeout": "900"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    make_lambda(empty, HOME, "malformed", """
def handler(event, context):
    record = event["Records"][0]
    again = int(record["attributes"]["ApproximateReceiveCount"]) > 1
    print("RECEIPT", record["receiptHandle"])
    return {} if again else {"batchItemFailures": [{"itemIdentifier": "no such message"}]}
""", timeout=60)
    empty.client("lambda", HOME).create_event_source_mapping(
        FunctionName="malformed", EventSourceArn=arn, FunctionResponseTypes=["ReportBatchItemFailures"])
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    logs = empty.client("logs", HOME)

    def lines(word: str) -> list[str]:
        try:
            events = logs.filter_log_events(logGroupName="/aws/lambda/malformed")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events if event["message"].startswith(word)]

    eventually(lambda: lines("REPORT"))
    assert depth(sqs, queue) == 1
    [receipt] = lines("RECEIPT")
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=receipt.split()[1], VisibilityTimeout=0)
    eventually(lambda: depth(sqs, queue) == 0)
    assert len(lines("START")) == 2


@pytest.mark.parametrize(
    ("kind", "code"), [("throttled", "ThrottlingException"), ("unavailable", "ServiceUnavailable"),
                         ("refused", "ValidationError")])
def test_one_action_can_be_refused_in_one_region(empty: Sandbox, kind: str, code: str) -> None:
    empty.refuse("sqs:ListQueues", region=HOME, kind=kind)
    try:
        with pytest.raises(ClientError, match=code):
            empty.client("sqs", HOME).list_queues()
        empty.client("sqs", OTHER).list_queues()
        empty.client("sqs", HOME).create_queue(QueueName="other-action")
    finally:
        empty.clear_faults()
    empty.client("sqs", HOME).list_queues()


@pytest.mark.parametrize("service", ["s3", "sns", "iam", "sqs", "lambda", "cloudwatch", "cloudformation"])
def test_every_protocol_can_read_a_refusal(empty: Sandbox, service: str) -> None:
    empty.refuse(f"{service}:*")
    client, call = empty.client(service, OTHER), {
        "s3": "list_buckets", "sns": "list_topics", "iam": "list_users", "sqs": "list_queues",
        "lambda": "list_functions", "cloudwatch": "list_metrics", "cloudformation": "list_stacks"}[service]
    try:
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            getattr(client, call)()
        empty.clear_faults()
        empty.stop_region(OTHER)
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            getattr(client, call)()
    finally:
        empty.clear_faults()
        empty.start_region(OTHER)
    getattr(client, call)()


def test_a_refusal_ends_after_so_many_times(empty: Sandbox) -> None:
    empty.refuse("sqs:*", region=HOME, times=1)
    once = boto3.client("sqs", HOME, endpoint_url=empty.endpoint, aws_access_key_id=empty.state.access_key,
                        aws_secret_access_key=empty.state.secret_key, config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        once.list_queues()
    once.list_queues()


def test_embedded_metrics_become_metrics(empty: Sandbox) -> None:
    make_lambda(empty, HOME, "metric", """
import json
def handler(event, context):
    print(json.dumps({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["d"]],
                      "Metrics": [{"Name": "M", "Unit": "Count"}]}]}, "d": "x", "M": 3}))
""")
    empty.client("lambda", HOME).invoke(FunctionName="metric")
    found = empty.client("cloudwatch", HOME).list_metrics(Namespace="N")["Metrics"]
    assert found == [{"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "d", "Value": "x"}]}]


STARTED = """
import sys, time
from sandbox.world import Sandbox
with Sandbox.start() as world:
    from tests.world.conftest import make_lambda
    make_lambda(world, "eu-west-1", "f", "import subprocess\\ndef handler(e, c): subprocess.run(['sleep', '300'])")
    world.client("lambda", "eu-west-1").invoke(FunctionName="f", InvocationType="Event")
    print(world.state.pid, world.state.mark, flush=True)
    sys.stdin.read()
"""


@contextmanager
def parent() -> Iterator[tuple["subprocess.Popen[str]", int, str, Path]]:
    """A process that runs a world with a busy Lambda: the process, its server's pid, its mark, its temporary folder."""
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    before = set(folder.glob("lamplighter-world-*"))
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout
        pid, mark = process.stdout.readline().split()
        mine = [path for path in set(folder.glob("lamplighter-world-*")) - before if owns(int(pid), path)]
        eventually(lambda: len(processes.marked(mark)) >= 2)
        yield process, int(pid), mark, mine[0]
        process.kill()


def owns(pid: int, folder: Path) -> bool:
    """Whether the server `pid` stands in `folder`."""
    return Path(f"/proc/{pid}/cwd").resolve() == folder.resolve()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_ends(number: signal.Signals) -> None:
    with parent() as (process, pid, mark, folder):
        process.send_signal(number)
        process.wait(SECONDS)
        eventually(lambda: not alive(pid) and not processes.marked(mark) and not folder.exists())


def test_a_published_world_is_found_by_others_and_gone_afterwards(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    assert Sandbox.find(state) is None
    with Sandbox.start(publish=state, stage="demo", regions=(HOME,)) as world:
        assert state.stat().st_mode & 0o777 == 0o600
        found = Sandbox.find(state)
        assert found and found.state == world.state and found.state.regions == (HOME,)
        found.client("sqs", HOME).list_queues()
        with pytest.raises(WorldError, match="another sandbox is running"), Sandbox.start(publish=state):
            pass
    assert Sandbox.find(state) is None and not state.exists()


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def depth(sqs: Any, queue: str) -> int:
    """Messages in the queue, visible, at work, or delayed."""
    names = ["", "NotVisible", "Delayed"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return sum(int(found[f"ApproximateNumberOfMessages{name}"]) for name in names)


def test_no_line_of_a_lambdas_log_is_lost_or_belongs_to_another_invocation(empty: Sandbox) -> None:
    source = "import sys\ndef handler(event, context):\n    for n in range(200): print(event['n'], n)\n    return {}\n"
    make_lambda(empty, "eu-west-1", "chatty", source)
    lambdas = empty.client("lambda", "eu-west-1")
    with ThreadPoolExecutor(8) as pool:
        tails = list(pool.map(lambda n: (n, lambdas.invoke(
            FunctionName="chatty", Payload=json.dumps({"n": n}), LogType="Tail")["LogResult"]), range(40)))
    for n, tail in tails:
        lines = [line for line in base64.b64decode(tail).decode().splitlines() if line[:1].isdigit()]
        assert lines == [f"{n} {number}" for number in range(200)][-len(lines):]
        assert len(lines) > 150


RAISES = """
invocations = 0
def handler(event, context):
    global invocations
    invocations += 1
    print("invocation", invocations)
    if event == "raise":
        raise ValueError("no")
    return {1} if event == "set" else invocations
"""


def test_a_handler_that_raises_stays_warm_and_its_log_is_its_own(empty: Sandbox) -> None:
    make_lambda(empty, HOME, "raises", RAISES)
    answers = [empty.client("lambda", HOME).invoke(FunctionName="raises", Payload=json.dumps(event), LogType="Tail")
               for event in ("raise", "set", "")]
    errors = [json.loads(answer["Payload"].read()) for answer in answers]
    assert [answer.get("FunctionError") for answer in answers] == ["Unhandled", "Unhandled", None]
    assert errors[0]["errorMessage"] == "no" and "not JSON serializable" in errors[1]["errorMessage"]
    assert errors[2] == 3, "it was started anew"
    for number, answer in enumerate(answers, 1):
        log = base64.b64decode(answer["LogResult"]).decode()
        assert re.findall(r"invocation \d", log) == [f"invocation {number}"]
        assert ("Traceback" in log) == (number < 3)
