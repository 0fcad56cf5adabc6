"""The checks of tasks before a deployment. It is pure. Fleet file, declared tasks and the template's times go in,
diagnostics come out."""

from collections.abc import Iterable, Iterator, Mapping

from chalicelib.config import durations
from chalicelib.config.declared import LAMBDA_SECONDS, Fleet, Queue
from chalicelib.crontab.diagnostics import Diagnostic, Severity
from chalicelib.crontab.job import Job
from chalicelib.envelope import Malformed, decode
from chalicelib.runner.times import AROUND_SECONDS
from chalicelib.tasks import backoff
from chalicelib.tasks.decide.message import RESERVE_SECONDS
from chalicelib.tasks.registry import Registry, Task

# Lambda's own ceiling, so that a task may take as long as one can.
FUNCTION_SECONDS = LAMBDA_SECONDS
# A message must stay hidden for longer than the Lambda that has it can live.
VISIBILITY_SECONDS = FUNCTION_SECONDS + 60
# The longest that SQS keeps a message.
RETENTION_SECONDS = 14 * 86_400


def check(
    fleet: Fleet, registry: Registry, function: int = FUNCTION_SECONDS, visibility: Mapping[str, int] | None = None
) -> list[Diagnostic]:
    """All findings, sorted. `function` is the time-out of the Lambda `tasks_work`, and `visibility` that of each queue,
    in seconds.

    An error refuses the package. Errors are a task of an unknown queue, one that can never finish, and a module that
    does not import.
    """
    hidden = visibility or {queue.name: VISIBILITY_SECONDS for queue in fleet.queues}
    found = [*_modules(registry), *_visibility(fleet, hidden, function)]
    queues = {queue.name: queue for queue in fleet.queues}
    for task in registry.tasks.values():
        found += _task(task, queues, function, (kept_seconds(fleet), fleet.runners.lambda_timeout))
    return sorted(found)


def kept_seconds(fleet: Fleet) -> int:
    """The seconds of the worker's Lambda in which no task runs."""
    return RESERVE_SECONDS + (0 if fleet.tasks.isolation == "shared" else int(AROUND_SECONDS))


def _modules(registry: Registry) -> Iterator[Diagnostic]:
    for text in registry.broken.values():
        place, _, rest = text.partition(": ")
        file, line, *column = place.split(":")
        message, _, remedy = rest.rpartition(". ")
        yield Diagnostic(file, int(line), int(column[0]) if column else 1, "error", "task-import", message, remedy)


def messages(jobs: Iterable[Job], registry: Registry) -> Iterator[Diagnostic]:
    """The jobs with `on=queue` whose task is none of `registry`, or does not take their arguments."""
    for job in jobs:
        if job.policy.on != "queue":
            continue
        try:
            message = decode(job.command)
        except Malformed:
            continue  # reading the schedules tells that
        task = registry.tasks.get(message.task)
        if task is None and not registry.broken_module(message.task):
            known = ", ".join(sorted(registry.tasks)) or "none yet"
            yield Diagnostic(job.file, job.line, 1, "error", "no-task", f"tasks/ declares no task {message.task!r}",
                             f"declare it with @task, or send one of {known}")
        elif task and (why := task.argument_error(message.args)):
            yield Diagnostic(job.file, job.line, 1, "error", "task-arguments", why, "send the arguments that it takes")


def _visibility(fleet: Fleet, visibility: Mapping[str, int], function: int) -> Iterator[Diagnostic]:
    for queue in fleet.queues:
        hidden = visibility.get(queue.name, 0)
        if hidden <= function:
            yield Diagnostic(
                "fleet.toml", 1, 1, "error", "visibility", f"queues.{queue.name}: SQS hides messages for {hidden} s "
                f"while the Lambda that works them off may live {function} s, so they would run twice",
                f"set the queue's VisibilityTimeout above {function}")


def _task(task: Task, queues: Mapping[str, Queue], function: int, limits: tuple[int, int]) -> Iterator[Diagnostic]:
    kept, longest = limits
    queue = queues.get(task.queue)
    if queue is None:
        yield _at(task, "error", "task-queue", f"{task.name}: there is no queue {task.queue!r}",
                  f"declare it in fleet.toml as [[queues]], or use one of {', '.join(sorted(queues)) or 'none yet'}")
        return
    timeout = task.timeout or queue.timeout
    room = function - kept
    if timeout > room:
        yield _too_long(task, timeout, room, longest - kept)
    elif task.timeout and timeout * queue.batch > room:
        fits = max(1, room // timeout)
        yield _at(task, "warning", "task-batch", f"{task.name}: {queue.batch} of {durations.words(timeout)} each do "
                  f"not fit into {durations.words(room)}. Those that have no time left go back untouched",
                  f"set batch = {fits} for the queue in fleet.toml if they really take that long")
    yield from _patience(task, queue)


def _too_long(task: Task, timeout: int, room: int, most: int) -> Diagnostic:
    asked = durations.words(timeout)
    if timeout > most:
        return _at(task, "error", "task-timeout", f"{task.name}: a time-out of {asked} is longer than any Lambda can "
                   f"work ({durations.words(most)})",
                   "split the work into several tasks, or start a container: a line in cron/ with on=ecs, or RunTask")
    return _at(task, "error", "task-timeout", f"{task.name}: a time-out of {asked} is longer than the Lambda of the "
               f"task queues works ({durations.words(room)})",
               f'set timeout = "{asked}" for the queue {task.queue!r} in fleet.toml (that lengthens it), or split it')


def _patience(task: Task, queue: Queue) -> Iterator[Diagnostic]:
    retries = queue.retries if task.retries is None else task.retries
    longest = sum(min(backoff.CEILING, backoff.FIRST * 2 ** min(n, 20)) for n in range(retries))
    if longest > RETENTION_SECONDS:
        yield _at(task, "warning", "task-retries", f"{task.name}: {retries} retries can take "
                  f"{longest // 86_400} days, and SQS keeps a message for 14", "set retries to 35 or less")


def _at(task: Task, severity: Severity, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(task.file, task.line, 1, severity, code, message, remedy)
