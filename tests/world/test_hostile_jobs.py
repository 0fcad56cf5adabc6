"""Jobs that reach for everything: a command and a Python job in the real runner Lambda, with IAM enforced.

Each tries every key prefix of both tables, every queue, every Lambda, /proc of every process, the line of its runner to
AWS, and the metadata addresses. Each says what it got, and starts processes that are to outlive it.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.schedules.lambdas import RUNNER
from sandbox.world import Sandbox
from testing.eventually import eventually
from tests.project import copy
from tests.world.least_privilege import HOME, POLICIES, Lambdas, deploy, numbers

pytestmark = [pytest.mark.world, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")]

HOSTILE = '''\
import json, os, socket, subprocess, sys, urllib.request
from pathlib import Path

ASKED = json.loads({asked!r})
got = []


def tried(what, attempt):
    """Whether it was refused. All else is told."""
    try:
        attempt()
    except Exception as error:
        words = f"{{type(error).__name__}}: {{error}}"
        if not any(known in words for known in ("AccessDenied", "not authorized", "Permission", "AuthorizationError")):
            got.append(f"{{what}}: {{words}}")
    else:
        got.append(f"{{what}}: allowed")


def calls():
    import boto3
    clients = {{}}
    def client(name):
        return clients.setdefault(name, boto3.client(name))
    for table in ASKED["tables"]:
        key = {{"sk": {{"S": "x"}}}}
        for pk in ASKED["prefixes"]:
            item = {{"pk": {{"S": pk}}, **key}}
            tried(f"get {{table}} {{pk}}", lambda: client("dynamodb").get_item(TableName=table, Key=item))
            tried(f"put {{table}} {{pk}}", lambda: client("dynamodb").put_item(TableName=table, Item=item))
            tried(f"delete {{table}} {{pk}}", lambda: client("dynamodb").delete_item(TableName=table, Key=item))
            tried(f"query {{table}} {{pk}}", lambda: client("dynamodb").query(
                TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={{":pk": {{"S": pk}}}}))
        tried(f"scan {{table}}", lambda: client("dynamodb").scan(TableName=table))
    for url in json.loads(os.environ["LAMP_QUEUES"]).values():
        tried(f"send {{url}}", lambda: client("sqs").send_message(QueueUrl=url, MessageBody="{{}}"))
        tried(f"receive {{url}}", lambda: client("sqs").receive_message(QueueUrl=url))
        tried(f"purge {{url}}", lambda: client("sqs").purge_queue(QueueUrl=url))
    for name in ASKED["lambdas"]:
        tried(f"invoke {{name}}", lambda: client("lambda").invoke(FunctionName=name, Payload=b"{{}}"))
        tried(f"change {{name}}", lambda: client("lambda").update_function_configuration(
            FunctionName=name, Description="mine"))
    tried("publish", lambda: client("sns").publish(TopicArn=os.environ["LAMP_ALERTS"], Message="x"))
    tried("stacks", lambda: client("cloudformation").delete_stack(StackName=ASKED["stack"]))
    tried("roles", lambda: client("iam").list_roles())
    tried("parameters", lambda: client("ssm").get_parameters_by_path(Path="/", Recursive=True))
    tried("secrets", lambda: client("secretsmanager").list_secrets())


def processes():
    mine = {{os.getpid()}}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in mine:
            for name in ("environ", "mem", "maps", "fd", "cwd", "root"):
                look(entry, name)


def look(entry, name):
    try:
        path = entry / name
        if name == "fd":
            found = [os.readlink(one) for one in path.iterdir()]
        elif name in ("cwd", "root"):
            found = os.readlink(path)
        else:
            with path.open("rb") as file:
                found = file.read(1) if name != "mem" else b"open"
    except OSError:
        return
    words = (entry / "cmdline").read_bytes().replace(b"\\0", b" ").decode()
    if any(mark in words for mark in ASKED["ours"]):
        got.append(f"{{entry.name}} ({{words[:60]}}) {{name}}: open")


def addresses():
    for host, port, path in (("169.254.169.254", 80, "/latest/meta-data/"), ("169.254.170.2", 80, "/v2/credentials"),
                             ("169.254.100.1", 9001, "/2018-06-01/runtime/invocation/next"),
                             ("127.0.0.1", 9001, "/2018-06-01/runtime/invocation/next")):
        try:
            with urllib.request.urlopen(f"http://{{host}}:{{port}}{{path}}", timeout=2) as answer:
                got.append(f"{{host}}: {{answer.status}}")
        except OSError:
            pass
    got.extend(f"{{name}} is told" for name in os.environ if name in ("AWS_LAMBDA_RUNTIME_API", "_HANDLER"))


def leave():
    stay = f"exec sleep 600 {{ASKED['mark']}}"
    for words in ([stay + " &"], ["nohup sh -c '" + stay + "' >/dev/null 2>&1 &"],
                  ["setsid sh -c '" + stay + "' &"], ["(setsid sh -c '(" + stay + ") &' &)"]):
        subprocess.run(["/bin/sh", "-c", *words], check=False)


def reach():
    processes()
    addresses()
    leave()
    print(json.dumps({{"got": got}}))
'''
# A line has no credentials, so that what it may reach is what it finds. A Python job has those of its role.
LINE = '''
got.extend(name for name in os.environ if name.startswith("AWS_"))
reach()
'''
JOB = '''
from lamplighter import job

@job("0 0 1 1 *", name="reaching")
def reaching():
    calls()
    reach()
'''

class Reaching:
    """The deployed fleet with its hostile jobs."""

    def __init__(self, lambdas: Lambdas, mark: str) -> None:
        self.lambdas, self.mark = lambdas, mark

    def run(self, job: str) -> dict[str, Any]:
        """A run of a job, as the worker records it, with its output."""
        slot = f"manual#{next(numbers)}"
        records = self.lambdas.records("schedule-runs", {"job": job, "slot": slot, "minute": 1, "why": "manual"})
        self.lambdas.invoke("schedules_work", records)
        run = self._item("-coordination", f"run#{job}", slot)
        return run | {"output": self._item("", f"output#{job}", f"{slot}#1").get("output", "")}

    def _item(self, table: str, pk: str, sk: str) -> dict[str, Any]:
        found = self.lambdas.world.client("dynamodb", HOME).get_item(
            TableName=f"{self.lambdas.stack}{table}", Key={"pk": {"S": pk}, "sk": {"S": sk}}).get("Item")
        body: dict[str, Any] = json.loads(found["body"]["S"]) if found else {}
        return body

    def left(self) -> list[str]:
        """The processes with the mark."""
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if self.mark in words(path)]


def words(path: Path) -> str:
    """The words with which a process was started."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def prefixes() -> list[str]:
    """Each partition key, or its beginning, that any policy names."""
    found = {"x"}
    for path in POLICIES.glob("*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            for keys in statement.get("Condition", {}).values():
                found |= set(keys.get("dynamodb:LeadingKeys", ()))
    return sorted(key.replace("*", "any") for key in found)


def asked(stack: str, mark: str) -> dict[str, Any]:
    """What the hostile jobs try."""
    names = [path.stem.removeprefix("policy-") for path in POLICIES.glob("policy-*.json")]
    return {"tables": [stack, f"{stack}-coordination"], "prefixes": prefixes(), "stack": stack, "mark": mark,
            "lambdas": [f"{stack}-{name}" for name in names],
            # The processes that stand for other machines: Lambdas, the emulator, and this test.
            "ours": ["_worker.py", "sandbox.launcher", "-m pytest"]}


POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["dynamodb:*", "sqs:*", "lambda:*", "sns:*"], "Resource": "*"},
    {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
NEXT = '''\
import boto3
from lamplighter import job, send

@job("0 0 1 1 *", name="declared")
def declared():
    print(len(boto3.client("s3").list_buckets()["Buckets"]) >= 0)
'''


@pytest.fixture(scope="module", params=["nothing declared", "everything declared"])
def reaching(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reaching]:
    """The fleet with hostile jobs, once without a policy of its own and once with one that allows all there is."""
    project, mark = copy(tmp_path_factory.mktemp("hostile")), f"600.0{os.getpid()}"
    for path in [*(project / "cron").rglob("*"), *(project / "tasks").rglob("*")]:
        if path.is_file():
            path.unlink()
    stage = "declared" if request.param == "everything declared" else "bare"
    told = asked(f"lamplighter-{stage}", mark)
    hostile, spy = HOSTILE.format(asked=json.dumps(told)), project / "spy.py"
    (project / "cron" / "hostile.py").write_text(hostile + JOB)
    spy.write_text(hostile + LINE)
    (project / "cron" / "plain.py").write_text(NEXT)
    lines = ["# lamp: name=line", f"0 0 1 1 * {sys.executable} -S -P {spy}",
             "# lamp: name=killer", "0 0 1 1 * echo here; kill -9 $PPID; sleep 5"]
    (project / "cron" / "crontabs" / "made").write_text("\n".join(lines) + "\n")
    if stage == "declared":
        (project / "fleet.toml").write_text(
            f'{(project / "fleet.toml").read_text()}\n[runners]\npolicy = "runner-policy.json"\n')
        (project / "runner-policy.json").write_text(json.dumps(POLICY))
    with Sandbox.start() as world:
        yield Reaching(Lambdas(world, deploy(world, project, stage, [HOME])), mark)


def test_a_python_job_reaches_nothing_and_leaves_nothing(reaching: Reaching) -> None:
    run = reaching.run("reaching")
    assert run["state"] == "done", run
    found = json.loads(run["output"].splitlines()[-1])
    # The queues of the team's own tasks are the team's to give.
    own = {} if reaching.lambdas.stack.endswith("bare") else {"send", "receive", "purge"}
    assert [one for one in found["got"] if one.split()[0] not in own or "schedule-" in one] == []
    assert eventually(lambda: reaching.left() == [])
    asked_for = reaching.lambdas.seen(RUNNER)
    assert {"dynamodb:PutItem", "sqs:SendMessage", "lambda:InvokeFunction", "sns:Publish"} <= asked_for.keys()


def test_a_command_reaches_nothing_and_leaves_nothing(reaching: Reaching) -> None:
    run = reaching.run("line")
    assert run["state"] == "done", run
    assert json.loads(run["output"].splitlines()[-1])["got"] == []
    assert eventually(lambda: reaching.left() == [])


def test_a_command_that_kills_its_runner_is_told_at_once(reaching: Reaching) -> None:
    run = reaching.run("killer")
    assert run["state"] == "failed"
    assert f"{RUNNER} ended before its command (Runtime.ExitError" in run["detail"]
    assert reaching.run("declared")["state"] in ("done", "failed")


def test_a_job_may_do_what_is_declared_and_no_more(reaching: Reaching) -> None:
    run = reaching.run("declared")
    assert run["state"] == ("done" if reaching.lambdas.stack.endswith("declared") else "failed"), run
