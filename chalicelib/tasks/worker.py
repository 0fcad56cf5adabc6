"""The Lambda `tasks_work`. An SQS batch goes in, `batchItemFailures` comes out."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib import context as context
from chalicelib.aws import client
from chalicelib.tasks import event as batch
from chalicelib.tasks import manifest, queues, registry
from chalicelib.tasks.lambdas import RUNNER

if TYPE_CHECKING:
    from chalicelib.tasks.batch_run import Worker


def handle(event: object, context: Any) -> dict[str, Any]:
    """Work off the batch `event`. Anything else is refused in one sentence, and nothing of it is deleted."""
    worker, places = _cold_start()
    try:
        return worker.work(batch.read(event, places), context)
    except batch.BadEvent as error:
        return worker.refuse(error)


@cache
def _cold_start() -> tuple[Worker, dict[str, queues.QueueConfig]]:
    # Powertools' batch and idempotency take 45 ms to import: the other Lambdas, which share this package, go without.
    from chalicelib.tasks.batch_run import Worker
    from chalicelib.tasks.idempotency import IdempotentRunner

    here = context.here()
    once = cache(lambda: IdempotentRunner(os.environ["LAMP_TABLE"], client.client("dynamodb", here.region)))
    known = queues.places(here.fleet, queues.urls())
    by_arn = {place.url.rsplit("/", 1)[-1]: place for place in known.values()}
    sqs = queues.SqsAdapter(here.region)
    if here.fleet.tasks.isolation == "shared":
        tasks = registry.load(context.ROOT / "tasks")
        return Worker(tasks, sqs, here.local_store, once, here.clock), by_arn
    from chalicelib.tasks.isolated_batch import IsolatedWorker, TaskRunner

    runner = TaskRunner(here.aws.functions, f"{here.fleet.name}-{here.stage}-{RUNNER}", here.fleet.runners.memory_mb)
    tasks = manifest.load((here.root / manifest.FILE).read_bytes())
    return IsolatedWorker(runner, tasks, sqs, here.local_store, once, here.clock), by_arn
