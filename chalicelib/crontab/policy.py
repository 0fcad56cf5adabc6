"""How a job is run, as its owner writes it.

That is `# lamp: overlap=skip timeout=10m` right above a crontab line or a cron.yaml entry, or arguments of `@job`.
docs/schedules.md lists the keys.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import get_args

import msgspec

from chalicelib.config import durations
from chalicelib.config.workload import RUNNER_JOB_SECONDS, RUNNERS, Runners
from chalicelib.crontab.diagnostics import LineDiagnostic, short
from chalicelib.crontab.job import AlarmOn, Kind, Overlap, Policy, Target

# The longest time-out in a Lambda, in seconds, unless fleet.toml lets it live longer.
LAMBDA_LONGEST = RUNNER_JOB_SECONDS
# Systems Manager's Run Command ends after 48 hours.
LONGEST = 48 * 3600
JITTER_LONGEST = 15 * 60  # the longest delay that SQS knows

_ENOUGH = 5  # mistakes of one comment that are worth telling
_COMMENT = re.compile(r"[ \t]*#[ \t]*lamp:(.*)", re.DOTALL)
_ALMOST = re.compile(r"[ \t]*#[ \t]*lamp\b.{0,3}\b"
                     r"(?:overlap|timeout|catch_up|retries|jitter|alarm_on|on|name|queue|user)=", re.I)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_QUEUE = re.compile(r"[a-z][a-z0-9-]{0,30}")
# What useradd(8) of Debian and of Amazon Linux both take.
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")

# Where a job of each kind can run: a crontab line is a shell command, a cron.yaml entry an address, `@job` a function.
TARGETS: Mapping[Kind, tuple[Target, ...]] = {
    "crontab": ("lambda", "ecs", "ssm", "queue", "http"),
    "beanstalk": ("http", "queue"),
    "python": ("lambda",),
}


class PolicyError(ValueError):
    """A value that a key cannot have, with the fault and the correction."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class PolicyOverrides(msgspec.Struct, frozen=True):
    """The written policy of one job, with checked values by key, and the column (from 1) of each."""

    values: dict[str, str | int]
    columns: dict[str, int]

    @property
    def name(self) -> str | None:
        """The name that the job is given, if any."""
        name = self.values.get("name")
        return None if name is None else str(name)

    def over(self, defaults: Policy) -> Policy:
        """`defaults` with what is written here in their place."""
        if not self.values:
            return defaults
        given = {key: value for key, value in self.values.items() if key != "name"}
        return msgspec.convert(msgspec.structs.asdict(defaults) | given, Policy)


NOTHING = PolicyOverrides({}, {})
DEFAULTS = Policy()


def _choice(allowed: tuple[str, ...], text: str) -> str:
    if text not in allowed:
        raise PolicyError(f"{short(text)} is not a choice", f"write one of {', '.join(allowed)}")
    return text


def _span(low: int, high: int, text: str) -> int:
    try:
        seconds = durations.seconds(text)
    except ValueError:
        raise PolicyError(f"{short(text)} is not a span of time", "write it as in 30s, 10m or 2h") from None
    if not low <= seconds <= high:
        raise PolicyError(f"{text} is out of bounds", f"write {durations.words(low)} to {durations.words(high)}")
    return seconds


def _catch_up(text: str) -> str:
    if text in ("skip", "one", "all"):
        return text
    try:
        return durations.words(_span(60, 86_400, text))
    except PolicyError as error:
        raise PolicyError(error.message, "write skip, one, all, or a span from 1m to 1d as in 2h") from None


def _count(high: int, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > high:
        raise PolicyError(f"{short(text)} is not a count", f"write a whole number from 0 to {high}")
    return int(text)


def _pattern(pattern: re.Pattern[str], remedy: str, text: str) -> str:
    if not pattern.fullmatch(text):
        raise PolicyError(f"{short(text)} cannot be used as a name", remedy)
    return text


READERS: Mapping[str, Callable[[str], str | int]] = {
    "overlap": partial(_choice, get_args(Overlap)),
    "timeout": partial(_span, 1, LONGEST),
    "catch_up": _catch_up,
    "retries": partial(_count, 10),
    "jitter": partial(_span, 0, JITTER_LONGEST),
    "alarm_on": partial(_choice, get_args(AlarmOn)),
    "on": partial(_choice, get_args(Target)),
    "queue": partial(_pattern, _QUEUE, "write a queue of fleet.toml, in small letters, digits and -"),
    "user": partial(_pattern, USER, "write a user of the server, as in www-data"),
    "name": partial(_pattern, _NAME, "write up to 100 letters, digits and . _ - /, beginning with a letter or digit"),
}


def comment(line: str) -> tuple[str, int] | None:
    """The text after `# lamp:` and its 1-based column. None if `line` is no such comment."""
    found = _COMMENT.match(line)
    return None if found is None else (found[1], found.start(1) + 1)


def almost(line: str) -> LineDiagnostic | None:
    """A comment that looks like a policy but is not read as one."""
    if _COMMENT.match(line) or not _ALMOST.match(line):
        return None
    column = line.index("#") + 1
    return LineDiagnostic(column, "policy-ignored", "this comment is no policy", "begin it with `# lamp:`")


def read(text: str, column: int, before: PolicyOverrides = NOTHING) -> tuple[PolicyOverrides, list[LineDiagnostic]]:
    """The policy `text` that begins at `column`, added to `before`, and what is wrong with it."""
    values, columns, wrong = dict(before.values), dict(before.columns), []
    for word in re.finditer(r"[^ \t\r]+", text):
        at = column + word.start()
        try:
            key, value = _pair(word[0], values)
        except PolicyError as error:
            wrong.append(LineDiagnostic(at, "bad-policy", error.message, error.remedy, "error"))
            if len(wrong) == _ENOUGH or "=" not in word[0]:  # what follows a stray word is hardly meant as keys
                break
        else:
            values[key], columns[key] = value, at
    return PolicyOverrides(values, columns), wrong


def _pair(word: str, known: Mapping[str, object]) -> tuple[str, str | int]:
    key, sign, text = word.partition("=")
    if not sign:
        raise PolicyError(f"{short(word)} is not key=value", "write it as in overlap=skip, without blanks")
    if key in known:
        raise PolicyError(f"{key} stands there twice", "remove one of them")
    return key, value(key, text)


def value(key: str, text: str) -> str | int:
    """`text` as a value of `key`, with durations in seconds and counts as numbers. `PolicyError` if it is invalid."""
    if key not in READERS:
        raise PolicyError(f"unknown key {short(key)}", f"write one of {', '.join(READERS)}")
    try:
        return READERS[key](text)
    except PolicyError as error:
        raise PolicyError(f"{key}: {error.message}", error.remedy) from None


def alarm_on(how: Policy, given: bool, fleets: AlarmOn | None, mailto: str | None = None) -> Policy:
    """`how` with the alarm that holds where the job has none of its own, which is the fleet's, or else cron's.

    Cron mails output to MAILTO. Commands of `lambda` and `ssm` have output. An HTTP answer is none.
    """
    if given or how.on not in ("lambda", "ssm"):
        return how
    return msgspec.structs.replace(how, alarm_on=fleets or ("output" if mailto else "failure"))


def conflicts(policy: Policy, kind: Kind, runners: Runners = RUNNERS) -> list[tuple[str, PolicyError]]:
    """The combinations that exclude each other, each with the key at fault. `runners` say how long a Lambda lives."""
    found = []
    if policy.on not in TARGETS[kind]:
        remedy = f"write on={' or on='.join(TARGETS[kind])}"
        found.append(("on", PolicyError(f"on={policy.on} cannot run a job of this kind ({kind})", remedy)))
    longest = runners.longest_job(policy.on) if policy.on in ("lambda", "http") else LONGEST
    if policy.timeout > longest:
        message = f"timeout={durations.words(policy.timeout)} is longer than a Lambda lives (on={policy.on})"
        remedy = f"write at most {durations.words(longest)}, or on=ecs or on=ssm"
        found.append(("timeout", PolicyError(message, remedy)))
    if policy.on == "lambda" and policy.overlap == "replace":
        message = "overlap=replace cannot be kept with on=lambda: nobody can stop a command in a runner Lambda"
        remedy = "write on=ecs or on=ssm" if kind == "crontab" else "write a crontab line with on=ecs or on=ssm"
        found.append(("overlap", PolicyError(message, f"{remedy}, or overlap=queue-one with a shorter timeout")))
    if policy.on == "queue" and policy.overlap != "allow":
        message = f"overlap={policy.overlap} cannot be kept with on=queue: a run ends when its message is sent"
        found.append(("overlap", PolicyError(message, "remove it, or limit the queue's concurrency in fleet.toml")))
    if policy.alarm_on == "output" and policy.on in ("ecs", "queue"):
        message = f"alarm_on=output has no meaning with on={policy.on}, which gives no output"
        found.append(("alarm_on", PolicyError(message, "remove it, or write alarm_on=failure")))
    if policy.user and policy.on != "ssm":
        message = f"user={policy.user} has no meaning with on={policy.on}, where there are no other users"
        found.append(("user", PolicyError(message, "write on=ssm or remove it")))
    if policy.queue and policy.on != "queue":
        message = f"queue={policy.queue} has no meaning with on={policy.on}"
        found.append(("queue", PolicyError(message, "write on=queue or remove it")))
    return found
