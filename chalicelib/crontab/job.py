"""A job from any source, which is a crontab line, a cron.yaml entry or a Python function."""

from typing import Literal

import msgspec

from chalicelib.config import durations
from chalicelib.crontab.expression import Expression

Overlap = Literal["allow", "skip", "queue-one", "replace"]
Target = Literal["lambda", "ecs", "ssm", "queue", "http"]
AlarmOn = Literal["failure", "output"]
Kind = Literal["crontab", "beanstalk", "python"]


class Policy(msgspec.Struct, frozen=True):
    """How a job is run. The defaults are what Debian's cron does.

    `overlap` is the action if the previous run has not ended. `timeout` and `jitter` are seconds. `catch_up` selects
    the slots that run late after an outage. `skip` runs none, `one` the last, `all` all, and a span such as `5m` those
    that are not older. That is as far back as the daemon goes. `retries` is the number of tries after a failed run.
    `on` is the target of the command, and `queue` the queue for `on=queue` (empty means the fleet's). With
    `alarm_on=output` all output raises an alert, as cron mails it, and not only failures. `user` is the user of the
    server for `on=ssm`, where empty means root.
    """

    overlap: Overlap = "allow"
    timeout: int = 600
    catch_up: str = "5m"
    retries: int = 0
    jitter: int = 0
    on: Target = "lambda"
    queue: str = ""
    alarm_on: AlarmOn = "failure"
    user: str = ""

    @property
    def catch_up_seconds(self) -> int | None:
        """The age up to which slots run late. 0 for `skip`, None (no limit) for `one` and `all`."""
        if self.catch_up in ("one", "all"):
            return None
        return 0 if self.catch_up == "skip" else durations.seconds(self.catch_up)


class Job(msgspec.Struct, frozen=True):
    """One job of the fleet.

    `name` is stable across deployments, as identity.py has it. `chosen` is what its owner gave for it: `name=`, the
    name of the entry, or that of the function. `former` are names that it had before its owner changed them, the last
    one first. `schedule` is the text as written, `tz` an IANA zone name. `command` and
    `stdin` are what cron would give to the shell after it has resolved `%`. A Python job's command is
    `<module>:<function>`. `env` holds what the file sets plus cron's defaults (SHELL, PATH, LOGNAME). `mailto` None
    means the default alarm topic, "" none. `file` is relative to the folder of schedules, `line` counts from 1.
    """

    name: str
    expression: Expression
    schedule: str
    tz: str
    command: str
    stdin: str
    env: dict[str, str]
    user: str
    mailto: str | None
    policy: Policy
    file: str
    line: int
    kind: Kind
    url: str = ""
    chosen: str = ""
    former: tuple[str, ...] = ()
