"""The folder of schedules as jobs and diagnostics, read at package time and never in a Lambda.

cron.d/NAME       crontabs whose lines name a user, as in Debian's /etc/cron.d
crontabs/USER     crontabs of one user each, as `crontab -l` prints them
NAME.yaml         Elastic Beanstalk's cron.yaml
NAME.py           Python functions under @job
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from chalicelib.config.declared import Fleet, Schedules
from chalicelib.config.workload import RUNNERS, Runners
from chalicelib.crontab import beanstalk, identity, needs, parser, python_jobs
from chalicelib.crontab.diagnostics import Diagnostic, LineDiagnostic, short
from chalicelib.crontab.job import Job, Policy

# Debian's cron reads no other names in cron.d (database.c, valid_name): backups and package leftovers have a dot.
_CRON_D = re.compile(r"[A-Za-z0-9_-]+")
DEFAULTS = Schedules()


class Catalogue(NamedTuple):
    """All jobs in a fixed order (by file, then line), and all findings."""

    jobs: list[Job]
    findings: list[Diagnostic]


def load(folder: Path, fleet: Fleet | None = None, python: "Reader | None" = None) -> Catalogue:
    """All that `folder` holds. With a `fleet`, jobs take its time zone and target, and what they need must be in it.

    Python files are imported, unless another reader of theirs is given as `python`.
    """
    if not folder.is_dir():
        remedy = "make it, or name another one"
        return Catalogue([], [_file_finding(str(folder), "error", "no-folder", "there is no such folder", remedy)])
    schedules, runners = (fleet.schedules, fleet.runners) if fleet else (DEFAULTS, RUNNERS)
    jobs: list[Job] = []
    findings: list[Diagnostic] = []
    for path in sorted(folder.rglob("*")):
        file = path.relative_to(folder).as_posix()
        if (path.is_file() or path.is_symlink()) and not _hidden(file):
            part = read_file(path, file, schedules, python, runners) if _within(path, folder) else _outside(file)
            jobs += part.jobs
            findings += part.findings
    doubles = list(_doubles(jobs))
    jobs = list(identity.named(jobs).jobs)
    undeclared = _needs(jobs, fleet) if fleet else ()
    return Catalogue(jobs, sorted([*findings, *doubles, *undeclared, *_messages(jobs), *_paths(jobs), *lacking(jobs)]))


def of_fleet(root: Path, fleet: Fleet | None = None) -> Catalogue:
    """The schedules of the fleet in `root`. It may do without, and git keeps no empty folder."""
    folder = root / "cron"
    return load(folder, fleet) if folder.exists() else Catalogue([], [])


def read_file(
    path: Path, file: str, schedules: Schedules = DEFAULTS, python: "Reader | None" = None,
    runners: Runners = RUNNERS,
) -> parser.Crontab:
    """One file. `file` is its path within the folder, which tells its format. Files that cron ignores are empty."""
    read = _reader(file)
    if isinstance(read, str):
        remedy = "rename or remove it"
        return parser.Crontab([], [_file_finding(file, "warning", "ignored-file", read, remedy)])
    try:
        return (python if python and read is _python else read)(path, file, schedules, runners)
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        return parser.Crontab([], [_file_finding(file, "error", "unreadable", message, "see to its rights")])


def _within(path: Path, folder: Path) -> bool:
    """Whether `path`, links followed, lies in `folder`. A link that leads round in a circle leads nowhere else."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _outside(file: str) -> parser.Crontab:
    """A link out of the folder. Its target is not in the repository, and differs from machine to machine."""
    message, remedy = "a symbolic link that leads out of the folder does not count", "put the file itself here"
    return parser.Crontab([], [_file_finding(file, "error", "link-outside", message, remedy)])


Reader = Callable[[Path, str, Schedules, Runners], parser.Crontab]


def _reader(file: str) -> "Reader | str":
    """The reader of `file`, or the reason why there is none."""
    parent, _, name = file.rpartition("/")
    if parent == "cron.d":
        return _system if _CRON_D.fullmatch(name) else "Debian's cron reads no file in cron.d whose name has a dot"
    if parent == "crontabs":
        return _user
    if parent:
        return "only files in cron.d/, crontabs/ and the folder itself count"
    if name.endswith((".yaml", ".yml")):
        return _beanstalk
    return _python if name.endswith(".py") else "crontabs belong into cron.d/ or crontabs/"


def _hidden(file: str) -> bool:
    parts = file.split("/")
    return any(part.startswith(".") or part == "__pycache__" for part in parts) or parts[-1] in ("README.md", "_.py")


def _system(path: Path, file: str, schedules: Schedules, runners: Runners) -> parser.Crontab:
    return parser.read(path.read_bytes(), parser.Source(file, True, "", schedules.timezone, policy(schedules),
                                                         schedules.alarm_on, runners))


def _user(path: Path, file: str, schedules: Schedules, runners: Runners) -> parser.Crontab:
    source = parser.Source(file, False, path.name, schedules.timezone, policy(schedules), schedules.alarm_on, runners)
    return parser.read(path.read_bytes(), source)


def _beanstalk(path: Path, file: str, schedules: Schedules, runners: Runners) -> parser.Crontab:
    posts = beanstalk.HTTP
    if schedules.http:
        posts = msgspec.structs.replace(posts, retries=schedules.http.retries)
    jobs, findings = beanstalk.read(path.read_bytes(), file, posts, runners)
    return parser.Crontab(jobs, findings)


def _python(path: Path, file: str, schedules: Schedules, runners: Runners) -> parser.Crontab:
    jobs, findings = python_jobs.read(path, file, schedules.timezone, alarm_on=schedules.alarm_on, runners=runners)
    return parser.Crontab(jobs, findings)


def policy(schedules: Schedules) -> Policy:
    """The policy of crontab lines that have none of their own."""
    return Policy(on=schedules.on)


def _doubles(jobs: Iterable[Job]) -> Iterator[Diagnostic]:
    """Equal names that people chose."""
    seen: set[str] = set()
    for job in jobs:
        if job.chosen and job.name in seen:
            yield _finding(job, "double-name", f"another job has the name {job.name!r}", "choose another name")
        if job.chosen:
            seen.add(job.name)


def _needs(jobs: Sequence[Job], fleet: Fleet) -> Iterator[Diagnostic]:
    """The declarations that jobs need and fleet.toml lacks."""
    queues = {queue.name for queue in fleet.queues}
    for job in jobs:
        on, queue = job.policy.on, job.policy.queue or fleet.schedules.queue
        if on in ("ecs", "ssm", "http") and getattr(fleet.schedules, on) is None:
            remedy = f"add [schedules.{on}] to fleet.toml, see docs/fleet.md"
            remedy += ", or write `# lamp: on=queue` right above the entry" if job.kind == "beanstalk" else ""
            yield _finding(job, "target", f"on={on} has nothing to run on: fleet.toml does not say where", remedy)
        if on == "queue" and queue not in queues:
            remedy = f"write queue= with one of {', '.join(sorted(queues)) or 'none yet'}, or declare it"
            yield _finding(job, "target", f"fleet.toml has no queue {queue!r}", remedy)


# What a job with on=queue says, by where it is written.
_SAY = {
    "crontab": 'write {"task": "invoices.render", "args": {"customer": 7}} as the command (\\% for %), or on=lambda',
    "beanstalk": "write url: /invoices/render?customer=7 to send the task invoices.render, or on=http",
}


def _messages(jobs: Sequence[Job]) -> Iterator[Diagnostic]:
    """Jobs whose message would become a dead letter, because `tasks.work` serves every queue of fleet.toml and takes
    tasks alone."""
    for job in jobs:
        if job.policy.on == "queue" and (why := _no_task(job)):
            yield _finding(job, "no-task", f"on=queue sends what no worker takes: {why}", _SAY[job.kind])


def _paths(jobs: Sequence[Job]) -> Iterator[Diagnostic]:
    """Crontab lines that cannot be posted. Reading a cron.yaml has looked at its addresses already."""
    for job in jobs:
        if job.kind == "crontab" and job.policy.on == "http" and not beanstalk.PATH.fullmatch(job.command):
            remedy = "write a path that begins with /, without blanks, as in /reports/nightly"
            yield _finding(job, "no-path", f"on=http posts to a path, and {short(job.command)} is none", remedy)


def lacking(jobs: Sequence[Job]) -> Iterator[Diagnostic]:
    """The needs of crontab lines that the place where they run does not meet."""
    for job in jobs:
        for need in needs.of(job):
            yield LineDiagnostic(1, need.code, need.message, need.remedy).at(job.file, job.line)


def _no_task(job: Job) -> str:
    """Why the message of `job` is no task. Empty if it is one."""
    # It brings boto3 along, for which a folder without such jobs need not wait.
    from chalicelib.envelope import Malformed, decode

    try:
        parts = decode(job.command).task.split(".")
    except Malformed as error:
        return str(error).partition(". See ")[0]
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return f"{short('.'.join(parts))} is no task. The name of a task is module.function"
    return "a message has no standard input, which begins at the first %" if job.stdin else ""


def _finding(job: Job, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(job.file, job.line, 1, "error", code, message, remedy)


def _file_finding(file: str, severity: str, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(file, 1, 1, "error" if severity == "error" else "warning", code, message, remedy)
