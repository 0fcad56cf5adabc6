"""The schedules and queues of fleet.toml, and their checks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from chalicelib.config import time_zones
from chalicelib.config.durations import Duration

Path_ = tuple[str | int, ...]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Target = Literal["lambda", "ecs", "ssm", "queue", "http"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
# The name of a role, behind its path if it has one. IAM's own characters.
Role = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9_+=,.@-]{1,64}/){0,8}[A-Za-z0-9_+=,.@-]{1,64}\Z")]

# The life of a Lambda unless fleet.toml wants more, and the most that AWS lets one have. AWS raised its limit of 900 s
# in November 2026 (API reference of Lambda, CreateFunction: Timeout). Not every region and tool may know that yet.
LAMBDA_SECONDS, LAMBDA_MOST_SECONDS = 900, 1800
# The room that the workers keep for writing down how a run ended.
RESERVE_SECONDS = 60
# The longest time-out of a job with on=lambda. Its worker claims, waits for the runner, and records, all within one
# Lambda, so that it needs the reserve twice.
RUNNER_JOB_SECONDS = LAMBDA_SECONDS - 2 * RESERVE_SECONDS

# An invocation has 6 MB ("Lambda quotas", developer guide). A body is JSON in JSON there, which at worst doubles it.
_BATCH_KIB = 3072
_DAY = 86_400
_QUEUE = "default"


class Ecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Fargate task of `on=ecs`, by RunTask with the job's command as override.

    Each region looks up the names for itself, so none is an ARN. The subnets are those of the region. `roles` are the
    task role and the execution role of the definition. The worker may pass these, and no other role.
    """

    cluster: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,255}\Z")]
    task_definition: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,255}(:[0-9]{1,9})?\Z")]
    container: str
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1, max_length=2)]


class Ssm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The instances of `on=ssm`, of which one healthy one with this tag runs the command."""

    tag: str
    value: str


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The address of `on=http`. The job's url is relative to it.

    `retries` holds for entries of a cron.yaml, as a worker environment of Elastic Beanstalk has it.
    """

    base: Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]+\Z")]
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 10


class Schedules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults of the jobs in cron/, and how long a standby waits before it does what was left undone."""

    timezone: str = "UTC"
    on: Target = "lambda"
    queue: str = _QUEUE
    alarm_on: Literal["failure", "output"] | None = None
    takeover_delay: Duration = Duration(120)
    retention: Duration = Duration(15 * _DAY)
    ecs: Ecs | None = None
    ssm: Ssm | None = None
    http: Http | None = None


class Runners(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Lambdas that run commands, Python jobs, and tasks that are isolated.

    `policy` is a file of the project with the policy document of their roles. Without it they may only write their log.
    `lambda_timeout` is the longest life of a Lambda, in which the worker of a job or a batch of tasks waits for them.
    """

    policy: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    memory_mb: Annotated[int, msgspec.Meta(ge=256, le=10_240)] = 1024
    lambda_timeout: Duration = Duration(LAMBDA_SECONDS)

    def longest_job(self, on: Target) -> int:
        """The longest time-out of a job that a Lambda runs or posts."""
        return self.lambda_timeout - (2 if on == "lambda" else 1) * RESERVE_SECONDS


# Those of a fleet.toml that says nothing about them.
RUNNERS = Runners()


class Tasks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the functions of tasks/ run: `isolated` in a runner, or `shared` in the worker, with its authority.

    A task that sends a task makes a chain. After `longest_chain` of them the next one is a dead letter. A message has
    `message_kib` KiB at most, 256 unless all of the account's queues and senders take more.
    """

    isolation: Literal["isolated", "shared"] = "isolated"
    longest_chain: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    message_kib: Annotated[int, msgspec.Meta(ge=256, le=1024)] = 256

    def longest_seconds(self, lambda_timeout: int) -> int:
        """The longest time-out of a queue. A worker that waits for a runner needs the reserve twice."""
        return lambda_timeout - (2 if self.isolation == "isolated" else 1) * RESERVE_SECONDS


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SQS queue that `tasks.work` serves, with its dead letters."""

    name: Name
    fifo: bool = False
    batch: Annotated[int, msgspec.Meta(ge=1, le=10)] = 10
    timeout: Duration = Duration(60)
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    concurrency: Annotated[int, msgspec.Meta(ge=2, le=1000)] | None = None
    dead_letter: Name | None = None


def mistakes(
    schedules: Schedules, queues: Sequence[Queue], tasks: Tasks, runners: Runners,
    without_ecs_network: Sequence[str] = (),
) -> Iterator[tuple[Path_, str]]:
    """Everything wrong with `schedules` and `queues`, as key path and remedy.

    `without_ecs_network` are the regions that have no subnets for the tasks of `on=ecs`.
    """
    if schedules.ecs and without_ecs_network:
        names = ", ".join(without_ecs_network)
        yield ("schedules", "ecs"), (f"{names} has no subnets for its tasks, and any region may have to run a job. Add "
                                     "a table [regions.ecs] to each")
    yield from _schedules(schedules, {queue.name for queue in queues})
    yield from twice("queues", [queue.name for queue in queues])
    if not LAMBDA_SECONDS <= runners.lambda_timeout <= LAMBDA_MOST_SECONDS:
        yield ("runners", "lambda_timeout"), "must lie between 15m and 30m, the longest life of a Lambda"
    yield from _queues(queues, tasks, runners)
    yield from _dead_letters(queues)
    yield from _circles(queues)


def twice(table: str, names: Sequence[str]) -> Iterator[tuple[Path_, str]]:
    """A mistake for each name that stands more than once in `[[table]]`."""
    for name, count in Counter(names).items():
        if count > 1:
            last = len(names) - 1 - names[::-1].index(name)
            yield (table, last, "name"), f"{name!r} stands here {count} times. Remove or rename one"


def _schedules(schedules: Schedules, queues: set[str]) -> Iterator[tuple[Path_, str]]:
    if unknown := time_zones.wrong(schedules.timezone):
        yield ("schedules", "timezone"), unknown
    if schedules.queue != _QUEUE and schedules.queue not in queues:
        there = ", ".join(sorted(queues)) or "none yet"
        yield ("schedules", "queue"), f"there is no queue {schedules.queue!r}. Declare it, or write one of {there}"
    if not 90 <= schedules.takeover_delay <= 300:
        # Every standby's delayed message must fit SQS's 15 minutes. Home's rule fires anywhere within the minute, and
        # then its jobs have half a minute to start.
        yield ("schedules", "takeover_delay"), "must lie between 90s and 5m"
    if not 15 * _DAY <= schedules.retention <= 400 * _DAY:
        # A claim that is gone while its message still lies in SQS would let the job run a second time.
        yield ("schedules", "retention"), "must lie between 15d and 400d, which is longer than SQS keeps messages"
    for target in ("ecs", "ssm", "http"):
        if schedules.on == target and getattr(schedules, target) is None:
            yield ("schedules", "on"), f"{target!r} needs a table [schedules.{target}]. Add it, see docs/fleet.md"


def _queues(queues: Sequence[Queue], tasks: Tasks, runners: Runners) -> Iterator[tuple[Path_, str]]:
    longest = tasks.longest_seconds(runners.lambda_timeout)
    life = f"a Lambda ends after {runners.lambda_timeout // 60} minutes"
    why = life if tasks.isolation == "shared" else (
        f'{life}, and waits for the runner. With tasks.isolation = "shared" it is {longest // 60 + 1}m')
    for number, queue in enumerate(queues):
        if queue.batch * tasks.message_kib > _BATCH_KIB:
            yield ("queues", number, "batch"), (
                f"{queue.batch} messages of {tasks.message_kib} KiB do not fit into one invocation of a Lambda. Write "
                f"at most {_BATCH_KIB // tasks.message_kib}, or a smaller tasks.message_kib")
        if not 1 <= queue.timeout <= longest:
            yield ("queues", number, "timeout"), f"must lie between 1s and {longest // 60}m, since {why}"
        if queue.name.startswith("schedule-") or queue.name.endswith("-dead"):
            yield ("queues", number, "name"), f"{queue.name!r} belongs to Lamplighter's own queues. Choose another"


def _dead_letters(queues: Sequence[Queue]) -> Iterator[tuple[Path_, str]]:
    """SQS moves messages of a FIFO queue to a FIFO queue only, and those of a standard queue to a standard one."""
    kinds = {queue.name: queue.fifo for queue in queues}
    made = {f"{queue.name}-dead": queue.fifo for queue in queues if queue.dead_letter is None}
    for number, queue in enumerate(queues):
        target = queue.dead_letter
        if target is None:
            continue
        at = ("queues", number, "dead_letter")
        if target.startswith("schedule-"):
            yield at, f"{target!r} belongs to Lamplighter's own queues. Choose another"
        elif target not in kinds and not target.endswith("-dead"):
            yield at, f"there is no queue {target!r}. Declare it, or let the name end in -dead to have it made"
        elif (kinds | made).get(target, queue.fifo) != queue.fifo:
            kind, other = ("FIFO", "standard") if queue.fifo else ("standard", "FIFO")
            yield at, f"{target!r} is a {other} queue and {queue.name!r} a {kind} one. Name a {kind} queue"
        made.setdefault(target, queue.fifo)


def _circles(queues: Sequence[Queue]) -> Iterator[tuple[Path_, str]]:
    goes_to = {queue.name: queue.dead_letter for queue in queues if queue.dead_letter}
    told: set[str] = set()
    for number, queue in enumerate(queues):
        circle = _circle(queue.name, goes_to)
        if circle and queue.name not in told:
            told |= set(circle)
            what = f"{' -> '.join([*circle, queue.name])} goes round in a circle. Let one of them end elsewhere"
            yield ("queues", number, "dead_letter"), what


def _circle(start: str, goes_to: Mapping[str, str]) -> list[str]:
    """The queues that a dead letter of `start` passes before it is back there. None if it never is."""
    seen, at = [start], goes_to.get(start)
    while at is not None and at not in seen:
        seen.append(at)
        at = goes_to.get(at)
    return seen if at == start else []
