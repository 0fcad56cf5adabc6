"""`lamp cron diff`, every run that a change of schedules adds or removes."""

import io
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib.config import fleet
from chalicelib.crontab import diagnostics, identity, loader
from chalicelib.crontab.diff import Change, Window, compare
from chalicelib.crontab.dst import stamp
from chalicelib.crontab.job import Job
from commands import roots
from commands.cron import unimported
from commands.errors import UsageError
from commands.operate import show
from commands.terminal import Console, line, write, write_json

_SHOWN = 40
_EPOCH = date(1970, 1, 1)
_MOST_DAYS = 36_525
# What a finding is called that tells where a command runs: no fire depends on it.
_NO_TARGET = "target"
_YEARS = range(1970, 2901)


def diff(
    a: Annotated[str, typer.Argument(help="A folder such as cron/, or a git revision of the fleet's repository.")],
    b: Annotated[str, typer.Argument(help="The one to compare it with.")],
    days: Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="How many days to compare.")] = 400,
    start: Annotated[str, typer.Option("--from", help="The first day (UTC), as in 2026-03-29. It is today if not "
                                                      "given.")] = "",
    every: Annotated[bool, typer.Option("--list", help="List every fire gained (+) or lost (-).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Which fires each job gains or loses between A and B, to the minute, clock changes included.

    For example: ./lamp cron diff HEAD~1 cron/ --days 30
    """
    window = Window(first_day(start), days)
    before = jobs_of(a)
    after = list(identity.named(jobs_of(b), before).jobs)
    changes = compare(before, after, window)
    if as_json:
        write_json(report(changes, window, len(before), len(after), every))
    elif every:
        for line in listing(changes):
            write(line)
    else:
        _show(Console(), changes, window, len(before), len(after))


def first_day(text: str) -> int:
    """The day since 1970-01-01 that `text` names. Empty is today in UTC."""
    if not text:
        return int(time.time() // 86_400)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--from {text!r} is not a day. Write it as in 2026-03-29") from None
    if day.year not in _YEARS:
        raise UsageError(f"--from {text!r}: the year must be from {_YEARS[0]} to {_YEARS[-1]}")
    return (day - _EPOCH).days


def jobs_of(source: str) -> list[Job]:
    """The jobs of the folder `source`, or of cron/ at that git revision, of which no Python runs.

    A `UsageError` tells what cannot be read.

    Jobs without a time zone of their own take that of `roots.fleet_of`.
    """
    folder = Path(source)
    if folder.is_dir():
        return _read(folder, source, roots.fleet_of(folder))
    with checkout(source) as root:
        return _read(root / "cron", f"{source}:cron", root / "fleet.toml", unimported.read)


def _read(folder: Path, source: str, declared: Path, python: loader.Reader | None = None) -> list[Job]:
    jobs, found = loader.load(folder, fleet.load(declared), python)
    if wrong := [finding for finding in diagnostics.errors(found) if finding.code != _NO_TARGET]:
        raise UsageError("\n".join(f"{source}: {line}" for line in diagnostics.render(wrong)))
    return jobs


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A temporary folder with cron/ and fleet.toml as they were at `revision` of the fleet's repository."""
    commit = _git(revision, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    packed = _git(revision, "archive", "--format=tar", commit.decode().strip(), "cron", "fleet.toml")
    with tempfile.TemporaryDirectory(prefix="lamp-diff-") as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def _git(revision: str, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(roots.fleet()), *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError(f"{revision!r} is not a folder, and there is no git here to find it as a revision") from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip() or "git knows no such revision"
        raise UsageError(f"{revision!r} is neither a folder nor a revision of this repository with cron/ in it ({why})")
    return done.stdout


def report(changes: Sequence[Change], window: Window, before: int, after: int, every: bool) -> dict[str, Any]:
    """The output of `--json`, totals and then each changed job, with `every` also all of its minutes."""
    return {
        "from": _day(window.first),
        "to": _day(window.first + window.length),
        "jobs_before": before,
        "jobs_after": after,
        "gained": sum(len(change.gained) for change in changes),
        "lost": sum(len(change.lost) for change in changes),
        "jobs": [_entry(change, every) for change in changes],
    }


def _entry(change: Change, every: bool) -> dict[str, Any]:
    gained, lost = (change.gained, change.lost) if every else change.examples()
    return {
        "job": change.name,
        "before": change.before or None,
        "after": change.after or None,
        "gained": len(change.gained),
        "lost": len(change.lost),
        "gained_utc" if every else "first_gained_utc": [_utc(minute) for minute in gained],
        "lost_utc" if every else "first_lost_utc": [_utc(minute) for minute in lost],
    }


def listing(changes: Sequence[Change]) -> Iterator[str]:
    """One line per run, `+` added or `-` removed, the UTC minute, the job."""
    for change in changes:
        signs = [(minute, "+") for minute in change.gained] + [(minute, "-") for minute in change.lost]
        for minute, sign in sorted(signs):
            yield f"{sign} {_utc(minute)} {change.name}"


def _show(console: Console, changes: Sequence[Change], window: Window, before: int, after: int) -> None:
    table = show.Rows("job", "was", "is", "gained", "lost", "first")
    for change in changes[:_SHOWN]:
        table.add(*_row(change))
    if changes:
        console.print(table, crop=False)
    if len(changes) > _SHOWN:
        console.print(Text(f"... and {len(changes) - _SHOWN} more jobs: --json has them all", "dim"))
    gained, lost = (sum(map(len, side)) for side in ([c.gained for c in changes], [c.lost for c in changes]))
    span = f"{_day(window.first)} to {_day(window.first + window.length)}"
    console.print(f"{before} jobs before, {after} after; {len(changes)} fire at other times within {span} (UTC): "
                  f"{gained:,} fires gained, {lost:,} lost")


def _row(change: Change) -> tuple[Text, ...]:
    gained, lost = change.examples(1)
    first = Text("\n").join([Text(f"+ {_utc(minute)}", "green") for minute in gained]
                            + [Text(f"- {_utc(minute)}", "red") for minute in lost])
    numbers = (Text(f"{len(change.gained):,}", "green"), Text(f"{len(change.lost):,}", "red"))
    return Text(line(change.name)), show.cell(change.before), show.cell(change.after), *numbers, first


def _day(day: int) -> str:
    return stamp(day * 1440)[:10]


def _utc(minute: int) -> str:
    return f"{stamp(minute)}:00Z"
