"""The cost of a task beside the same function in a bare Powertools BatchProcessor, as CPU time per message.

Tasks whose `isolation` is `shared` are compared. The cost of an isolated one stands beside them, without a limit.

Both sides take the same batches of ten, in the same process and run, turn about. Both sides have the same fake in place
of the network, the boto3 client. The bare side does the least work. It decodes JSON, looks the function up, and calls
it.
"""

import contextlib
import gc
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import typer
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

from chalicelib.aws.store import DynamoStore
from chalicelib.tasks import event as batch
from chalicelib.tasks.batch_run import Worker
from chalicelib.tasks.handover import TaskBatch, TaskCall
from chalicelib.tasks.idempotency import IdempotentRunner
from chalicelib.tasks.queues import QueueConfig, SqsAdapter
from chalicelib.tasks.registry import Registry, Task
from commands import roots
from commands.bench.figures import Figure, cpu_ms, report

LIMIT = 1.3
ROUNDS = 9
_BATCHES = 150
_ARN = "arn:aws:sqs:eu-west-1:000000000000:lamplighter-bench-default"
_PLACE = QueueConfig(
    "default", "https://sqs/lamplighter-bench-default", "default-dead", "https://sqs/dead", False, 5, 60)
_PLACES = {_ARN.rsplit(":", 1)[1]: _PLACE}
# As much of Lambda's context as is looked at.
_CONTEXT: Any = SimpleNamespace(aws_request_id="bench", get_remaining_time_in_millis=lambda: 900_000)
# A DynamoDB client that accepts everything and returns nothing. On both sides the idempotency calls end here.
# Powertools registers its user agent with the client's events.
_DYNAMO: Any = SimpleNamespace(put_item=lambda **_: {}, update_item=lambda **_: {},
                               meta=SimpleNamespace(events=SimpleNamespace(register_last=lambda *_: None)))

Work = Callable[..., object]
Side = Callable[[dict[str, Any]], object]


def bench(as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False) -> None:
    """Compare the CPU time per message of a task with that of the same function in a bare BatchProcessor.

    Exits with 1 if a limit is not kept.
    """
    report(_all(), as_json=as_json)


def _all() -> Iterator[Figure]:
    for once in (False, True):
        yield from measure(once)
    for size in (10, 1):
        name = f"isolated: the runner's CPU for a task of a batch of {size}"
        yield Figure(name, statistics.median(_runner(size) for _ in range(ROUNDS)), "ms")


def nothing(number: int, text: str) -> None:
    """The hardest case, in which all measured time is overhead. The work of a task costs both sides the same."""


def measure(once: bool) -> Iterator[Figure]:
    """Both sides, batch by batch turn about, so that a busy machine slows both alike. The medians."""
    ours, bare = _ours(nothing, once), _bare(nothing, once)
    gc.collect()
    gc.disable()
    try:
        # The first round warms up.
        rounds = [_round(bare, ours, number * _BATCHES * 20) for number in range(ROUNDS + 1)][1:]
    finally:
        gc.enable()
    name = "with idempotency" if once else "without idempotency"
    median = statistics.median
    yield Figure(f"{name}: a bare BatchProcessor", median(bare for bare, _ in rounds), "us")
    yield Figure(f"{name}: a task", median(ours for _, ours in rounds), "us")
    yield Figure(f"{name}: times as long", median(ours / bare for bare, ours in rounds), "", "at most", LIMIT)


def _round(bare: Side, ours: Side, first: int) -> tuple[float, float]:
    """Microseconds of CPU per message of both sides, over fresh batches."""
    spent = {bare: 0.0, ours: 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        for number in range(_BATCHES):
            for place, side in enumerate((bare, ours) if number % 2 else (ours, bare)):
                event = _event(first + number * 20 + place * 10)
                spent[side] += cpu_ms(partial(side, event))
    gc.collect()
    return spent[bare] / (_BATCHES * 10) * 1000, spent[ours] / (_BATCHES * 10) * 1000


def _registry(function: Work, once: bool) -> Registry:
    registry = Registry()
    registry.add(Task(
        "bench.task", function, "default", 5, 60, None, (lambda args: str(args["number"])) if once else None, 3600,
        frozenset({"number", "text"}), frozenset({"number", "text"}), "bench_tasks.py", 1))
    return registry


# A runner ends every process below it, so it is measured in one of its own.
_RUNNER = """\
import json, resource, sys
from chalicelib.tasks.child.handler import handle

def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)

event, before = json.loads(sys.argv[1]), cpu()
assert all(outcome["state"] == "done" for outcome in handle(event, None))
print((cpu() - before) * 1000 / len(event["calls"]))
"""
_TASK = "from lamplighter import task\n\n@task\ndef nothing(number: int, text: str) -> None: pass\n"


def _runner(size: int) -> float:
    """Milliseconds of CPU per task of a batch in a new runner, whose processes are real."""
    body = json.dumps({"task": "bench.nothing", "args": {"number": 1, "text": "Oil for one lamp"}})
    calls = TaskBatch([TaskCall("bench.nothing", body, "m", 1, "default", 60.0)] * size, 600.0, may_cut=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tasks").mkdir()
        (Path(folder) / "tasks" / "bench.py").write_text(_TASK)
        done = subprocess.run(
            [sys.executable, "-P", "-c", _RUNNER, msgspec.json.encode(calls)], check=True, capture_output=True,
            text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(roots.PRODUCT)])})
    return float(done.stdout)


def _ours(function: Work, once: bool) -> Side:
    registry = _registry(function, once)
    memory = IdempotentRunner("bench", _DYNAMO)
    worker = Worker(registry, SqsAdapter("eu-west-1"), DynamoStore("bench", "eu-west-1"), lambda: memory)
    return lambda event: worker.work(batch.read(event, _PLACES), _CONTEXT)


def _bare(function: Work, once: bool) -> Side:
    processor, config = BatchProcessor(EventType.SQS), IdempotencyConfig()
    functions = {"bench.task": function}

    def plain(record: Any) -> object:
        message = json.loads(record.body)
        return functions[message["task"]](**message["args"])

    def call(*, key: str, message: dict[str, Any]) -> None:
        functions[message["task"]](**message["args"])

    layer = DynamoDBPersistenceLayer("bench", boto3_client=_DYNAMO)
    guarded = idempotent_function(
        call, data_keyword_argument="key", persistence_store=layer, config=config, key_prefix="bench.task")

    def keyed(record: Any) -> None:
        message = json.loads(record.body)
        config.register_lambda_context(_CONTEXT)
        guarded(key=str(message["args"]["number"]), message=message)

    return lambda event: process_partial_response(event, keyed if once else plain, processor, _CONTEXT)


def _event(first: int) -> dict[str, Any]:
    return {"Records": [_record(number) for number in range(first, first + 10)]}


def _record(number: int) -> dict[str, Any]:
    body = {"task": "bench.task", "args": {"number": number, "text": "Oil for one lamp"}, "id": f"{number:032x}",
            "sent_at": "2026-03-29T00:55:00Z"}
    return {
        "messageId": f"{number:032x}", "receiptHandle": f"{number:0300x}", "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1774745700000", "SenderId": "AIDA",
                       "ApproximateFirstReceiveTimestamp": "1774745700001"},
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs", "eventSourceARN": _ARN,
        "awsRegion": "eu-west-1"}
