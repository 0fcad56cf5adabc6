"""tasks.status, tasks.peek and tasks.redrive. (tasks.work is worker.py, because a task is no plan.)"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from chalicelib.context import RegionContext
from chalicelib.engine.operation import NoParameters, Operation, Rejected, Request
from chalicelib.engine.plan import Action, Plan
from chalicelib.tasks import act, decide, observe, queues
from chalicelib.tasks.decide import MessageFilter, Redrive
from chalicelib.tasks.queues import QueueDirectory, SqsAdapter
from chalicelib.tasks.state import QueueDepth, QueueSample


def _see_status(context: RegionContext, request: Request) -> list[QueueDepth]:
    known = _known(context)
    return observe.depths(SqsAdapter(context.region), known, observe.ages(context.region, known.urls, request.now))


def _see_letters(context: RegionContext, request: Request) -> QueueSample:
    known, wanted = _known(context), request.parameters
    if wanted.queue and wanted.queue not in known.urls:
        raise Rejected(f"there is no queue {wanted.queue!r}. There are {', '.join(sorted(known.urls))}")
    names = [wanted.queue] if wanted.queue else sorted(known.origins)
    return observe.look(SqsAdapter(context.region), known, names, wanted.limit, observe.deadline())


def _see_dead(context: RegionContext, request: Request) -> QueueSample:
    known, wanted = _known(context), request.parameters
    # The schedules' own dead letters stay: a job of the past must not run because somebody mended a task.
    ours = sorted(dead for dead, origin in known.origins.items() if origin in _names(context))
    if wanted.queue and wanted.queue not in ours:
        raise Rejected(f"{wanted.queue!r} holds no dead letters of tasks. Name one of {', '.join(ours)}")
    names = [wanted.queue] if wanted.queue else ours
    return observe.look(SqsAdapter(context.region), known, names, wanted.limit, observe.deadline())


def _names(context: RegionContext) -> set[str]:
    return {queue.name for queue in context.fleet.queues}


def _revive(context: RegionContext, request: Request, actions: Sequence[Action]) -> list[str]:
    known, sqs = _known(context), SqsAdapter(context.region)
    results: list[str] = []
    until = observe.deadline()
    for queue, some in groupby(actions, key=lambda action: str(action.details["queue"])):
        with observe.held(sqs, known, queue, request.parameters.limit, until) as letters:
            results += act.redrive(sqs, known, list(some), letters)
    return results


def _known(context: RegionContext) -> QueueDirectory:
    try:
        return queues.known(context.fleet)
    except queues.QueueError as error:
        raise Rejected(str(error)) from None


def _decide_status(seen: list[QueueDepth], request: Request) -> Plan:
    return decide.status(seen)


def _decide_peek(seen: QueueSample, request: Request) -> Plan:
    return decide.peek(seen, request.parameters)


def _decide_redrive(seen: QueueSample, request: Request) -> Plan:
    return decide.redrive(seen, request.parameters)


ALL: tuple[Operation[Any], ...] = (
    Operation("tasks.status", "queues with depth and age, dead letters", _see_status, _decide_status,
              parameters=NoParameters, raises_alerts=False),
    Operation("tasks.peek", "the messages in the dead letters, or in another queue", _see_letters, _decide_peek,
              parameters=MessageFilter, raises_alerts=False),
    Operation("tasks.redrive", "brings dead letters back, all, one, or by error", _see_dead, _decide_redrive,
              {"redrive": _revive}, Redrive, raises_alerts=False),
)
