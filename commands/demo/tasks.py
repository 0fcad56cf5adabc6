"""The demo's thousand tasks, sent as any program would, as plain JSON to SQS."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sandbox.world import Sandbox

COUNT, POISON, FAIL_ONCE_EVERY = 1000, 3, 20


def send(world: Sandbox, stack: str, regions: Sequence[str]) -> list[str]:
    """Sends them to the queues of all regions in turn. SQS's ids."""
    bodies = [json.dumps(_task(number)) for number in range(COUNT)]
    shares = [(region, bodies[start : start + 10]) for start in range(0, COUNT, 10)
              for region in (regions[start // 10 % len(regions)],)]
    with ThreadPoolExecutor(4) as pool:
        return [id for ids in pool.map(lambda share: _batch(world, stack, *share), shares) for id in ids]


def _task(number: int) -> dict[str, object]:
    if number < POISON:
        return {"task": "chores.poison", "args": {"number": number}}
    fails = number % FAIL_ONCE_EVERY == FAIL_ONCE_EVERY - 1
    return {"task": "chores.sweep", "args": {"number": number, "fail_once": fails}}


def _batch(world: Sandbox, stack: str, region: str, bodies: Sequence[str]) -> list[str]:
    sqs = world.client("sqs", region)
    url = sqs.get_queue_url(QueueName=f"{stack}-default")["QueueUrl"]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=[
        {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)])
    return [sent["MessageId"] for sent in answer["Successful"]]
