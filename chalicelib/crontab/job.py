"""What a job is, wherever it was written: a crontab line, a cron.yaml entry or a Python function."""

from typing import Literal

import msgspec

from chalicelib.config import durations
from chalicelib.crontab.expression import Expression

Overlap = Literal["allow", "skip", "queue-one", "replace"]
Target = Literal["lambda", "ecs", "ssm", "queue", "http"]
Kind = Literal["crontab", "beanstalk", "python"]


class Policy(msgspec.Struct, frozen=True):
    """How a job is run; the defaults are what Debian's cron does.

    `overlap`: what to do when the run before is still going. `timeout` and `jitter` are seconds. `catch_up`: which
    slots are run late after an outage: `skip` none, `one` the last, `all`, or those of a span such as `5m`, which is
    how far back the daemon goes. `retries`: how often a failed run is tried again. `on`: where the command runs;
    `queue` names the queue for `on=queue` (empty: the fleet's).
    """

    overlap: Overlap = "allow"
    timeout: int = 600
    catch_up: str = "5m"
    retries: int = 0
    jitter: int = 0
    on: Target = "lambda"
    queue: str = ""

    @property
    def catch_up_seconds(self) -> int | None:
        """How far back slots are caught up: 0 for `skip`, None (no limit) for `one` and `all`."""
        if self.catch_up in ("one", "all"):
            return None
        return 0 if self.catch_up == "skip" else durations.seconds(self.catch_up)


class Job(msgspec.Struct, frozen=True):
    """One job of the fleet.

    `name` is stable across deployments. `schedule` is the text as written, `tz` an IANA zone name. `command` and
    `stdin` are what cron would give to the shell after it has resolved `%`; a Python job's command is
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
