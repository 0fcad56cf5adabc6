"""What hostile jobs and tasks try: every key prefix of both tables, every queue, every Lambda, /proc, the addresses."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.world.least_privilege import POLICIES, Lambdas

# A module that notes in `got` what it reached. `calls` needs an SDK, and `reach` prints the rest.
HOSTILE = '''\
import json, os, socket, subprocess, sys, urllib.request
from collections.abc import Sequence
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
    from chalicelib import queue_addresses
    for url in queue_addresses.urls().values():
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
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["dynamodb:*", "sqs:*", "lambda:*", "sns:*"], "Resource": "*"},
    {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}


def prepare(project: Path, *, declared: bool) -> None:
    """Takes the example's jobs and tasks out of `project`. The runners may do nothing, or all that is `declared`."""
    for path in [*(project / "cron").rglob("*"), *(project / "tasks").rglob("*")]:
        if path.is_file():
            path.unlink()
    (project / "runner-policy.json").write_text(json.dumps(POLICY))
    text = (project / "fleet.toml").read_text()
    if not declared:
        text, count = re.subn(r"\[runners\]\npolicy = .*\n", "", text)
        assert count == 1
    (project / "fleet.toml").write_text(text)


def reached_nothing(got: Sequence[str], lambdas: Lambdas, runner: str) -> None:
    """Fails unless the code in `runner` tried to reach what there is, and was denied all but the team's own queues."""
    own = {} if lambdas.stack.endswith("bare") else {"send", "receive", "purge"}
    assert [one for one in got if one.split()[0] not in own or "schedule-" in one] == []
    tried = lambdas.seen(runner)
    assert {"dynamodb:PutItem", "sqs:SendMessage", "lambda:InvokeFunction", "sns:Publish"} <= tried.keys()


def left(mark: str) -> list[str]:
    """The processes with the mark."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark in words(path)]


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
