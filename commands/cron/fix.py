"""The `# lamp:` comments that `lamp cron lint --fix` writes above lines of crontabs.

It adds lines and changes none. A key that stands in a comment above the line stays as it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from chalicelib.config import durations
from chalicelib.config.declared import Schedules
from chalicelib.crontab import needs, policy
from chalicelib.crontab.job import Job


class Fixed(NamedTuple):
    """A file with its comments. `written` has the number of each commented line, before the change, and the comment."""

    data: bytes
    written: list[tuple[int, str]]


def host(schedules: Schedules) -> str:
    """The value of `on` for lines that need a server or a container. A server, unless only containers are declared."""
    return "ecs" if schedules.ecs and not schedules.ssm else "ssm"


def apply(data: bytes, jobs: Sequence[Job], on: str) -> Fixed:
    """The crontab `data`, whose `jobs` are these, with the comments that meet the needs of its lines."""
    lines = data.split(b"\n")
    comments = {job.line: comment for job in jobs if (comment := _comment(job, lines, on))}
    fixed: list[bytes] = []
    for number, line in enumerate(lines, 1):
        if number in comments:
            fixed.append(comments[number].encode() + (b"\r" if line.endswith(b"\r") else b""))
        fixed.append(line)
    return Fixed(b"\n".join(fixed), sorted(comments.items()))


def _comment(job: Job, lines: Sequence[bytes], on: str) -> str:
    """The comment that the line of `job` lacks. Empty if it lacks none."""
    keys = _keys(job)
    if on == "ssm" and keys.get("on") == needs.HOST:
        # There it needs more, such as its user.
        moved = replace(job, policy=replace(job.policy, on="ssm"))
        keys = {key: value for key, value in _keys(moved).items() if key == "user"} | keys
    written = _written(job.line, lines)
    if "on" in written and job.policy.on != "ssm":
        keys.pop("user", None)  # the owner wants it where there are no users
    if "on" in written and durations.seconds(keys.get("timeout", "0s")) > policy.LAMBDA_LONGEST:
        del keys["timeout"]  # the owner wants a Lambda, which does not live as long
    given = {key: on if value == needs.HOST else value for key, value in keys.items() if key not in written}
    order = ("on", "user", "overlap", "timeout")
    return f"# lamp: {' '.join(f'{key}={given[key]}' for key in order if key in given)}" if given else ""


def _keys(job: Job) -> dict[str, str]:
    return {key: value for need in needs.of(job) for key, value in need.keys.items()}


def _written(line: int, lines: Sequence[bytes]) -> set[str]:
    """The keys in the comments right above line number `line`."""
    wish = policy.NOTHING
    above = line - 2
    while above >= 0 and (found := policy.comment(lines[above].decode("utf-8", "surrogateescape"))):
        wish, _ = policy.read(*found, before=wish)
        above -= 1
    return set(wish.values)
