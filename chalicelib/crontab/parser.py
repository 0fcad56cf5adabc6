"""A crontab file as Debian's cron reads it. Bytes go in, jobs and diagnostics come out, and nothing in the file raises
an exception.

Facts come from `load_user` (user.c), `load_entry` (entry.c) and `load_env` (env.c) of cron 3.0pl1-162. The daemon
ignores a whole file for one bad line. Here every line is read on its own, and each such line is an error.
"""

import re

import msgspec

from chalicelib.config.workload import RUNNERS, Runners
from chalicelib.crontab import command, entry, environment, lint, policy
from chalicelib.crontab.diagnostics import Diagnostic, LineDiagnostic
from chalicelib.crontab.job import AlarmOn, Job, Policy

# cron.h: MAX_TAB_LINES, plus what user.c adds for the header that crontab(1) writes. The first variable or job on a
# line beyond this makes the daemon ignore the file.
MAX_LINES = 10_003

# What Debian sets where the file does not (entry.c, pathnames.h). HOME is the user's there; here it is the runner's.
DEFAULTS = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}

_UNDECODED = re.compile(r"[\udc80-\udcff]")


class Source(msgspec.Struct, frozen=True):
    """The file and its format. `system` files name a user before the command, the others belong to `user`.

    `tz` holds until a CRON_TZ line. `defaults` is the policy of jobs that say nothing. `alarm_on` and
    `runners` are the fleet's.
    """

    file: str
    system: bool
    user: str = ""
    tz: str = "UTC"
    defaults: Policy = Policy()
    alarm_on: AlarmOn | None = None
    runners: Runners = RUNNERS


class Crontab(msgspec.Struct, frozen=True):
    """The content of a file, in the order of its lines. Jobs that nobody has named are told apart by identity.py."""

    jobs: list[Job]
    findings: list[Diagnostic]


def read(data: bytes, source: Source) -> Crontab:
    """The crontab `data`. Errors among the findings are what Debian refuses. Its other jobs are there all the same."""
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    reader = _Reader(source, lines)
    if not lines[-1]:
        lines.pop()
    elif lines[-1].strip(" \t") and not lines[-1].lstrip(" \t").startswith("#"):
        message = "the last line does not end, and Debian ignores the whole file"
        reader.add(len(lines), LineDiagnostic(len(lines[-1]) + 1, "no-newline", message, "add a newline at the end",
                                              "error"))
    for number, line in enumerate(lines, 1):
        reader.line(number, line)
    reader.orphan()
    return Crontab(reader.jobs, sorted(reader.findings))


class _Reader:
    def __init__(self, source: Source, lines: list[str]) -> None:
        self.source = source
        self.jobs: list[Job] = []
        self.findings: list[Diagnostic] = []
        self._reported: set[str] = set()
        self._variables: dict[str, str] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._tz: str | None = source.tz
        self._tz_at = 0  # the line that set it
        self._wish, self._wished_at = policy.NOTHING, (0, 0)
        self._last_blank = next((n for n in range(len(lines), 0, -1) if re.search("[ \t]", lines[n - 1])), 0)

    def add(self, line: int, found: LineDiagnostic) -> None:
        self.findings.append(found.at(self.source.file, line))

    def _once(self, line: int, found: LineDiagnostic) -> None:
        """Reports only the first place of what goes for the whole file."""
        if found.code not in self._reported:
            self._reported.add(found.code)
            self.add(line, found)

    def line(self, number: int, line: str) -> None:
        if line.endswith("\r"):
            message = "the line ends with a carriage return, which Debian makes part of the command or refuses"
            self._once(number, LineDiagnostic(len(line), "crlf", message, "convert the file: sed -i 's/\\r$//'",
                                              "error"))
            line = line.rstrip("\r")
        start = line.lstrip(" \t")
        if start.startswith("#"):
            self._comment(number, line)
        elif not start:
            self.orphan()
        elif self._readable(number, line):
            self._statement(number, line)
        else:
            # The policy above was meant for this line, and not for the next one.
            self._wish, self._wished_at = policy.NOTHING, (0, 0)

    def _readable(self, number: int, line: str) -> bool:
        if "\0" in line:
            found = LineDiagnostic(line.index("\0") + 1, "nul", "a NUL byte ends the line here", "remove it", "error")
        elif not line.isascii() and (bad := _UNDECODED.search(line)):
            found = LineDiagnostic(bad.start() + 1, "not-utf8", "not UTF-8", "save the file in UTF-8", "error")
        else:
            return True
        self._once(number, found)
        return False

    def _comment(self, number: int, line: str) -> None:
        if not line.isascii() and (bad := _UNDECODED.search(line)):
            self._once(number, LineDiagnostic(bad.start() + 1, "comment-not-utf8", "not UTF-8",
                                              "save the file in UTF-8"))
        written = policy.comment(line)
        if written is None:
            self.orphan()
            if ignored := policy.almost(line):
                self.add(number, ignored)
            return
        self._wish, wrong = policy.read(*written, before=self._wish)
        self._wished_at = (number, line.index("#") + 1)
        for found in wrong:
            self.add(number, found)

    def orphan(self) -> None:
        """A policy that no job follows would be without effect, and nobody would know."""
        if self._wished_at != (0, 0):
            line, column = self._wished_at
            remedy = "put it on the line right above the job"
            self.add(line, LineDiagnostic(column, "orphan-policy", "no job stands below this policy", remedy, "error"))
        self._wish, self._wished_at = policy.NOTHING, (0, 0)

    def _statement(self, number: int, line: str) -> None:
        if number > MAX_LINES:
            message = f"the file is longer than 10000 lines (this is line {number}), and Debian ignores it"
            self._once(number, LineDiagnostic(1, "too-many-lines", message, "divide it into several files", "error"))
        setting = environment.read(line)
        if setting is None:
            self._job(number, line)
        else:
            self.orphan()
            self._set(number, line, setting)

    def _set(self, number: int, line: str, setting: environment.Setting) -> None:
        found = list(environment.surprises(line, setting))
        for one in found:
            self.add(number, one)
        self._variables[setting.name] = setting.value
        self._environments = {}
        if setting.name == "CRON_TZ":
            self._tz = None if any(one.code == "unknown-zone" for one in found) else setting.value
            self._tz_at = number

    def _job(self, number: int, line: str) -> None:
        wish, at = self._wish, self._wished_at
        self._wish, self._wished_at = policy.NOTHING, (0, 0)
        try:
            found = entry.read(line, None if self.source.system else self.source.user, number >= self._last_blank)
        except entry.Refusal as refusal:
            self.add(number, refusal.found)
            return
        self._surprises(number, line, found)
        if self._tz is None:
            message = f"the zone of this line is unknown (CRON_TZ in line {self._tz_at})"
            column = len(line) - len(line.lstrip(" \t")) + 1
            self.add(number, LineDiagnostic(column, "unknown-zone", message, "mend that line", "error"))
            return
        self._append(number, found, wish, at)

    def _surprises(self, number: int, line: str, found: entry.Entry) -> None:
        for one in (
            *lint.warnings(found.reading),
            *lint.sixth(found.reading, line, self.source.system),
            *command.wrong_format(self.source.system, found.user, found.raw, found.column),
            *command.surprises(found.raw, found.column),
        ):
            self.add(number, one)

    def _append(self, number: int, found: entry.Entry, wish: policy.PolicyOverrides, at: tuple[int, int]) -> None:
        run, stdin = command.split(found.raw.lstrip(" \t"))
        mailto = self._variables.get("MAILTO")
        how = policy.alarm_on(wish.over(self.source.defaults), "alarm_on" in wish.values, self.source.alarm_on, mailto)
        for key, error in policy.conflicts(how, "crontab", self.source.runners):
            line, column = (at[0], wish.columns[key]) if key in wish.columns else (number, 1)
            self.add(line, LineDiagnostic(column, "bad-policy", error.message, error.remedy, "error"))
        self.jobs.append(
            Job(
                name=wish.name or command.name(self.source.file, run),
                expression=found.reading.expression,
                schedule=found.reading.text,
                tz=self._tz or "UTC",
                command=run,
                stdin=stdin,
                env=self._environment(found.user),
                user=found.user,
                mailto=mailto,
                policy=how,
                file=self.source.file,
                line=number,
                kind="crontab",
                chosen=wish.name or "",
            )
        )

    def _environment(self, user: str) -> dict[str, str]:
        """Shared by the jobs with equal variables, because a file has many lines and few variables."""
        if user not in self._environments:
            self._environments[user] = DEFAULTS | self._variables | {"LOGNAME": user}
        return self._environments[user]
