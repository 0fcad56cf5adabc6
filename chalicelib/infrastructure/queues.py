"""The queues, each with its dead letters, its mapping to a Lambda and its alarms. Pure.

The stack's own are in .chalice/resources.json. Those of [[queues]] in fleet.toml are added as it is packaged.
"""

import json
from collections.abc import Sequence
from typing import Any

from chalicelib import registry
from chalicelib.config.declared import RESERVE_SECONDS, Fleet, Queue, Tasks
from chalicelib.config.fleet import FleetError
from chalicelib.engine.deployment import FleetQueues, Lambda, OwnQueue
from chalicelib.infrastructure import alarms
from chalicelib.infrastructure.parts import Json, attribute, logical, named, resource

# A message that keeps killing its worker is set aside after so many receives. The worker itself buries what has used up
# its retries long before. Waiting for a free place counts as a receive too, so this is no place for a small number.
_MOST_RECEIVES = 1000
_KEPT_SECONDS = 14 * 86_400
# From a Lambda's time-out to the moment its messages show up again.
_VISIBILITY_MARGIN = 60


def own_names() -> dict[str, str]:
    """The queues that every fleet has, with their dead letters: name -> logical id."""
    names = [each.trigger.name for each in registry.lambdas() if isinstance(each.trigger, OwnQueue)]
    return {name: logical(name) for queue in names for name in (queue, f"{queue}-dead")}


def own(declared: Sequence[Lambda]) -> Json:
    """The parts of the template for the queues that every fleet has."""
    parts: Json = {}
    for each in declared:
        if isinstance(each.trigger, OwnQueue):
            parts |= _own(each, each.trigger)
    return parts


def _own(served: Lambda, queue: OwnQueue) -> Json:
    id, dead = logical(queue.name), logical(f"{queue.name}-dead")
    return {
        dead: _sqs(f"{queue.name}-dead", False, {}),
        id: _sqs(queue.name, False, {"VisibilityTimeout": queue.visibility_seconds,
                                     "RedrivePolicy": _redrive(dead, queue.most_receives)}),
        f"{id}Source": _mapping(id, served.function, queue.batch),
        f"{id}Unserved": alarms.unserved(queue.name, id, served.function, queue.harm),
        f"{logical(served.function)}Throttled": alarms.throttled(served.function),
        f"{dead}Alarm": alarms.dead_letters(f"{queue.name}-dead", dead),
    }


def of_fleet(fleet: Fleet) -> Json:
    """The parts of the template for [[queues]]. `FleetError` if the stack could not tell two names apart."""
    _told_apart(fleet)
    parts: Json = {}
    for queue in fleet.queues:
        parts |= _of_fleet(fleet, queue)
    if fleet.queues:
        parts[f"{logical(server())}Throttled"] = alarms.throttled(server())
    return parts


def _of_fleet(fleet: Fleet, queue: Queue) -> Json:
    """A queue, its dead letters (unless another queue serves as such), the mapping to the Lambda, and its alarms."""
    id, dead, (function, harm) = _id(queue.name), _id(fleet.dead_letters(queue)), _served()
    parts: Json = {id: _sqs(queue_name(queue), queue.fifo, {
        "VisibilityTimeout": work_seconds(fleet) + _VISIBILITY_MARGIN, **size(fleet),
        "RedrivePolicy": _redrive(dead, _MOST_RECEIVES)})}
    if fleet.dead_letters(queue) not in {other.name for other in fleet.queues}:
        parts[dead] = _sqs(dead_name(fleet, queue), queue.fifo, size(fleet))
        parts[f"{dead}Alarm"] = alarms.dead_letters(fleet.dead_letters(queue), dead)
    parts[f"{id}Source"] = _mapping(id, function, queue.batch, queue.concurrency)
    parts[f"{id}Unserved"] = alarms.unserved(queue.name, id, function, harm, fifo=queue.fifo)
    return parts


def size(fleet: Fleet) -> Json:
    """The property of a queue that takes longer messages than every queue does."""
    kib = fleet.tasks.message_kib
    return {"MaximumMessageSize": kib * 1024} if kib > Tasks().message_kib else {}


def of_runs(own: Json, fleet: Fleet) -> Json:
    """The queue of runs, which hides a message for longer than the Lambda that has it may live."""
    hidden = fleet.runners.lambda_timeout + _VISIBILITY_MARGIN
    return {**own, "Properties": {**own["Properties"], "VisibilityTimeout": hidden}}


def server() -> str:
    """The function that serves [[queues]]."""
    return _served()[0]


def _served() -> tuple[str, str]:
    """That function, and what it means when it does not."""
    [found] = [(each.function, each.trigger.harm) for each in registry.lambdas()
               if isinstance(each.trigger, FleetQueues)]
    return found


def work_seconds(fleet: Fleet) -> int:
    """The time-out of that Lambda, the longest of its queues', and time to record the end, and to reach the runner."""
    reserve = RESERVE_SECONDS if fleet.tasks.isolation == "shared" else 2 * RESERVE_SECONDS
    return min(fleet.runners.lambda_timeout, max((queue.timeout for queue in fleet.queues), default=60) + reserve)


def every(fleet: Fleet) -> dict[str, str]:
    """Every queue of the stack as name in fleet.toml -> logical id."""
    found = own_names()
    for queue in fleet.queues:
        found |= {queue.name: _id(queue.name), fleet.dead_letters(queue): _id(fleet.dead_letters(queue))}
    return found


def prefix() -> Json:
    """The beginning of the URLs of all queues of the stack, `LAMP_QUEUE_PREFIX` of each Lambda."""
    return {"Fn::Sub": "https://sqs.${AWS::Region}.${AWS::URLSuffix}/${AWS::AccountId}/${AWS::StackName}-"}


def tails(fleet: Fleet) -> dict[str, str]:
    """The rest of each queue's URL after the prefix, by its name in fleet.toml."""
    found = {name: name for name in own_names()}
    for queue in fleet.queues:
        found |= {queue.name: queue_name(queue), fleet.dead_letters(queue): dead_name(fleet, queue)}
    return found


def addresses(fleet: Fleet) -> Json:
    """The URL of every queue as one JSON object, `LAMP_QUEUES` of a sender outside of the stack."""
    return {"Fn::Sub": json.dumps({name: f"${{{id}}}" for name, id in sorted(every(fleet).items())})}


def queue_name(queue: Queue) -> str:
    """The part of the queue's SQS name after the stack's name. SQS wants `.fifo` at its end."""
    return queue.name + (".fifo" if queue.fifo else "")


def dead_name(fleet: Fleet, queue: Queue) -> str:
    """The same of its dead letters. The dead letters of a FIFO queue are one, too."""
    return fleet.dead_letters(queue) + (".fifo" if queue.fifo else "")


def _told_apart(fleet: Fleet) -> None:
    """CloudFormation's ids have letters and digits only, so two names may give one. `FleetError` if they do."""
    names: dict[str, str] = {}
    for name, id in every(fleet).items():
        if other := names.get(id):
            raise FleetError(f"fleet.toml: the queues {other!r} and {name!r} would both be {id} in the stack. Call one "
                             "of them otherwise")
        names[id] = name


def _id(name: str) -> str:
    return f"Queue{logical(name)}"


def _sqs(name: str, fifo: bool, more: Json) -> Json:
    return resource("SQS::Queue", {
        "QueueName": named(name), "SqsManagedSseEnabled": True, "MessageRetentionPeriod": _KEPT_SECONDS,
        **({"FifoQueue": True} if fifo else {}), **more})


def _redrive(dead: str, most_receives: int) -> Json:
    return {"deadLetterTargetArn": attribute(dead, "Arn"), "maxReceiveCount": most_receives}


def _mapping(id: str, function: str, batch: int, concurrency: int | None = None) -> Json:
    scaling: dict[str, Any] = {"ScalingConfig": {"MaximumConcurrency": concurrency}} if concurrency else {}
    return resource("Lambda::EventSourceMapping", {
        "EventSourceArn": attribute(id, "Arn"), "FunctionName": {"Ref": logical(function)}, "BatchSize": batch,
        "FunctionResponseTypes": ["ReportBatchItemFailures"], **scaling})
