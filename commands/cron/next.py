"""`./lamp cron next FILE`, every minute of each line of a crontab, cron.yaml or Python file."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from chalicelib.config import fleet
from chalicelib.config.declared import Schedules
from chalicelib.crontab import beanstalk, dst, loader, parser, python_jobs, zones
from chalicelib.crontab.diagnostics import WHOLE_FILE, Diagnostic
from chalicelib.crontab.job import Job
from commands import roots
from commands.errors import UsageError
from commands.terminal import line, write

# The longest span of one call, in minutes: every minute of a line takes memory, and there may be many lines.
LONGEST = 5 * 366 * 24 * 60


class Window(NamedTuple):
    """UTC minutes since 1970 from `start` up to, not including, `end`."""

    start: int
    end: int


class Line(msgspec.Struct, frozen=True):
    """A line that is a job, its zone, and the UTC minutes (RFC 3339) of its runs, one for each slot.

    A fixed-time job runs once for each minute that the clock skips, and all of these at the moment of the change.

    `next_utc` is the first time from `--from` on, also if that lies after `--to`. It is empty if there is none within
    nine years.
    """

    line: int
    schedule: str
    tz: str
    fires_utc: list[str]
    next_utc: str


class Failure(msgspec.Struct, frozen=True):
    """A line that is no job, with the place, and the message of Debian's cron."""

    line: int
    column: int
    error: str


class Report(NamedTuple):
    """`rows` in the order of lines. `findings` are those that `rows` do not already tell. `tz` is the zone of lines
    without `CRON_TZ`."""

    rows: list[Line | Failure]
    findings: list[Diagnostic]
    tz: str

    @property
    def failed(self) -> bool:
        """Whether any line could not be read."""
        return any(isinstance(row, Failure) for row in self.rows)


def fires(
    file: Annotated[Path, typer.Argument(help="a crontab, a cron.yaml or a Python file of jobs", show_default=False)],
    tz: Annotated[str, typer.Option(help="the zone of lines without CRON_TZ, by default that of fleet.toml",
                                    metavar="ZONE")] = "",
    start: Annotated[str, typer.Option("--from", help="first minute, now if not given", metavar="ISO")] = "",
    end: Annotated[str, typer.Option("--to", help="end, not included, a day later if not given", metavar="ISO")] = "",
    system: Annotated[
        bool | None, typer.Option("--system/--user", help="whether lines name a user, by default if in cron.d/")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
) -> None:
    """Tell every minute at which each line fires, for 5 years at most. Status 1 if a line cannot be read.

    A minute stands there once for each run: a fixed-time job runs for each minute that the clock skips.

    Lines without CRON_TZ are in the zone of the fleet.toml above FILE, else of the fleet that is worked on. Without
    any fleet they are in UTC.

    Faults for which Debian ignores a whole file of readable lines (no newline at its end, carriage returns, more than
    10,000 lines) go to stderr. The fires are listed all the same, and the status stays 0.
    """
    report = explain(file, tz, window(start, end, datetime.now(UTC)), system)
    for finding in report.findings:
        write(str(finding), to_stderr=True)
    if as_json:
        write(as_text(report.rows))
    else:
        _print(report)
    if report.failed:
        raise typer.Exit(1)


def window(start: str, end: str, now: datetime) -> Window:
    """The times of `--from` and `--to`. Without zone they are UTC. Parts of a minute count from the next minute on."""
    first = _minute("--from", start) if start else _ceiling(now)
    last = _minute("--to", end) if end else first + 24 * 60
    if last < first:
        raise UsageError("--to lies before --from. Name a later time")
    if last - first > LONGEST:
        raise UsageError("more than 5 years lie between --from and --to. Ask for them in parts")
    return Window(first, last)


def _minute(option: str, text: str) -> int:
    try:
        return _ceiling(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is not a time. Write it as in 2026-03-29T01:00Z") from None


def _ceiling(when: datetime) -> int:
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return -((datetime(1970, 1, 1, tzinfo=UTC) - when) // timedelta(minutes=1))


def explain(file: Path, tz: str, span: Window, system: bool | None = None) -> Report:
    """The fires of all lines of `file` within `span`. `UsageError` if the file or the zone is none."""
    schedules = declared(file)
    if tz:
        schedules = msgspec.structs.replace(schedules, timezone=tz)
    try:
        zones.zone(schedules.timezone)
        jobs, findings = read(file, schedules, system)
        lines = [_line(job, span) for job in jobs]
    except zones.UnknownZone as error:
        raise UsageError(f"--tz: {error}") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {file} ({error.strerror}). Name a crontab, a cron.yaml or a .py file"
        ) from None
    except ValueError as error:
        raise UsageError(f"--from, --to: {error}. Name times within those years") from None
    failures, others = _divide(findings, {job.line for job in jobs})
    rows: list[Line | Failure] = [*lines, *failures]
    return Report(sorted(rows, key=lambda row: row.line), others, schedules.timezone)


def declared(file: Path) -> Schedules:
    """The settings that a single file of schedules takes from the fleet, or the defaults if there is no fleet."""
    try:
        place = roots.fleet_of(file)
    except UsageError:
        return loader.DEFAULTS
    return fleet.load(place).schedules


def read(
    file: Path, schedules: Schedules, system: bool | None = None
) -> tuple[Sequence[Job], Sequence[Diagnostic]]:
    """The jobs of a crontab, a cron.yaml or a Python file, and what is wrong with it."""
    tz = schedules.timezone
    if file.suffix in (".yaml", ".yml"):
        return beanstalk.read(file.read_bytes(), str(file))
    if file.suffix == ".py":
        return python_jobs.read(file, str(file), tz, alarm_on=schedules.alarm_on)
    named = names_users(file) if system is None else system
    source = parser.Source(str(file), named, file.name, tz, loader.policy(schedules), schedules.alarm_on)
    read = parser.read(file.read_bytes(), source)
    return read.jobs, read.findings


def names_users(file: Path) -> bool:
    """Whether `file` lies where Debian's cron expects a user before each command."""
    path = file.absolute()
    return path.parent.name == "cron.d" or str(path) == "/etc/crontab"


def _divide(findings: Sequence[Diagnostic], jobs: set[int]) -> tuple[list[Failure], list[Diagnostic]]:
    """Errors of lines that are no jobs go into the list, at most one for each line. The rest is for stderr."""
    failures: dict[int, Failure] = {}
    others = []
    for finding in findings:
        line_is_bad = finding.severity == "error" and finding.code not in WHOLE_FILE and finding.line not in jobs
        if line_is_bad and finding.line not in failures:
            failures[finding.line] = Failure(finding.line, finding.column, finding.message)
        else:
            others.append(finding)
    return list(failures.values()), others


def _line(job: Job, span: Window) -> Line:
    slots = {slot.name: slot.minute for slot in dst.slots(job.expression, job.tz, span.start, span.end)}
    minutes = list(slots.values())
    following = minutes[0] if minutes else _following(job, span.end)
    return Line(job.line, job.schedule, job.tz, [_stamp(minute) for minute in minutes],
                "" if following is None else _stamp(following))


def _following(job: Job, minute: int) -> int | None:
    """The first fire from UTC `minute` on. None if there is none within nine years, or before the year 9999."""
    try:
        return dst.next_fire(job.expression, job.tz, minute)
    except ValueError:
        return None


def _stamp(minute: int) -> str:
    return f"{dst.stamp(minute)}:00Z"


def as_text(rows: Sequence[Line | Failure]) -> str:
    """`rows` as a JSON list, one row a line."""
    body = ",\n ".join(json.dumps(msgspec.to_builtins(row)) for row in rows)
    return f"[{body}]"


def _print(report: Report, limit: int = 8) -> None:
    from rich.table import Table
    from rich.text import Text

    from commands.terminal import Console

    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(Text(line(f"lines without CRON_TZ are in {report.tz}; the times below are UTC"), "dim"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("line", "schedule", "fires", f"when (UTC, the first {limit})"):
        table.add_column(title, no_wrap=title == "line")
    for row in report.rows:
        table.add_row(*_cells(row, limit))
    console.print(table)


def _cells(row: Line | Failure, limit: int) -> tuple[Any, ...]:
    from rich.text import Text

    if isinstance(row, Failure):
        return str(row.line), Text("-", "red"), "", Text(line(f"{row.error} (column {row.column})"), "red")
    shown = list(dict.fromkeys(row.fires_utc))[:limit]
    more = ", ..." if shown and shown[-1] != row.fires_utc[-1] else ""
    times = _times([stamp for stamp in row.fires_utc if stamp in shown]) + more
    if not times:
        times = f"next {_times([row.next_utc])}" if row.next_utc else "never within nine years"
    return str(row.line), Text(line(row.schedule)), str(len(row.fires_utc)), Text(times)


def _times(stamps: Sequence[str]) -> str:
    """`2026-11-23 06:38, 06:39 (3 runs)`, with the date where it changes."""
    runs = Counter(stamps)
    days = ["", *(stamp[:10] for stamp in runs)]
    return ", ".join(
        (stamp[11:16] if day == before else f"{day} {stamp[11:16]}") + (f" ({count} runs)" if count > 1 else "")
        for (stamp, count), day, before in zip(runs.items(), days[1:], days, strict=False)
    )
