"""`lamp bench schedules`, the cost of the timetable, and of its peers in the same run."""

import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from chalicelib.crontab import job_file, parser, timetable
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.diff import Window, compare
from chalicelib.crontab.job import Job
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable
from chalicelib.schedules.decide.backlog import plan_backlog
from commands import roots
from commands.bench.peers import PEERS, differing, version
from commands.bench.schedules_generate import ZONES, crowd
from commands.develop import groups
from commands.errors import UsageError
from commands.operate import show

ROUNDS = 7
# Minutes asked about in one round: primes apart, so that all minutes of the hour and hours of the day come up.
_MINUTES = range(29_720_160, 29_720_160 + 211 * 60, 211)
_PEER_MINUTES = _MINUTES[:: len(_MINUTES) // ROUNDS][:ROUNDS]
_DAY = 1440
_TIMES_CRONSIM = 500
_LINES = 100_000

Work = Callable[[], object]


class Row(msgspec.Struct, frozen=True):
    """The median of `rounds` in milliseconds, and the limit it must not exceed, if any. `jobs` 0 means that there are
    none."""

    what: str
    jobs: int
    median_ms: float
    limit_ms: float | None
    within: bool
    rounds: int = ROUNDS


class Peer(msgspec.Struct, frozen=True):
    """A peer's median for one minute, and as a multiple of ours. `differing` is the number of answers that differ from
    ours."""

    peer: str
    version: str | None
    median_ms: float | None = None
    times: float | None = None
    at_least: int | None = None
    differing: int = 0

    @property
    def within(self) -> bool:
        """Whether the timetable is ahead as far as it is to be, with the same answers."""
        return not self.differing and (self.times is None or self.times >= (self.at_least or 0))


def bench(as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False) -> None:
    """Measure the timetable with 10,000 and 100,000 jobs in 40 time zones, and its peers with 10,000."""
    measured: list[Row | Peer] = []
    try:
        groups.need("bench")
    except UsageError as missing:
        print(f"lamp: {missing}", file=sys.stderr)  # the timetable is measured all the same
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        measured.extend(progress.track(_measure(), total=16 + len(PEERS), description="measuring"))
    rows = [result for result in measured if isinstance(result, Row)]
    peers = [result for result in measured if isinstance(result, Peer)]
    if as_json:
        print(json.dumps({**_machine(), **msgspec.to_builtins({"rows": rows, "peers": peers})}, indent=2))
    else:
        _print(Console(highlight=False), rows, peers)
    if not all(result.within for result in measured):
        raise typer.Exit(1)


def _machine() -> dict[str, object]:
    return {"python": platform.python_version(), "machine": platform.machine(), "zones": len(ZONES)}


def _measure() -> Iterator[Row | Peer]:
    small, large = crowd(10_000), crowd(100_000)
    yield from _index(small, 1)
    yield from _index(large, 5)
    yield _diff(small)
    yield _backlog(small)
    yield _reading(_LINES)
    yield _start()
    table = Timetable.load(timetable.build(small))
    ours = _median_of_minutes(lambda minute: _ids(table, minute), _MINUTES)
    for name in PEERS:
        yield _peer(name, small, table, ours)


def _index(jobs: Sequence[Job], limit: float) -> Iterator[Row]:
    table, book = timetable.build(jobs), job_file.build(jobs)
    loaded, count = Timetable.load(table), len(jobs)
    ids = [_median_of_minutes(lambda minute: _ids(loaded, minute), _MINUTES) for _ in range(ROUNDS)]
    yield _row("due at a minute, ids listed", count, ids, limit)
    named = [_median_of_minutes(lambda minute: list(loaded.due(minute).fires()), _MINUTES) for _ in range(ROUNDS)]
    yield _row("due at a minute, with each job's slot", count, named, None)
    yield _row("load timetable.bin and jobs.bin", count, _times(lambda: (Timetable.load(table), JobFile.load(book))), 1)
    yield _row("first question after loading", count, _times(lambda: _ids(Timetable.load(table), _MINUTES[0])), None)
    yield _row("build timetable.bin", count, _times(lambda: timetable.build(jobs)), None)
    yield _row("build jobs.bin", count, _times(lambda: job_file.build(jobs)), None)


def _ids(table: Timetable, minute: int) -> list[int]:
    return list(bits(table.due(minute).bitmap))


def _diff(jobs: Sequence[Job]) -> Row:
    other, window = crowd(len(jobs), seed=2), Window(_MINUTES[0] // _DAY, 400)
    return _row("diff over 400 days, all jobs changed", len(jobs), _times(
        lambda: [(len(change.gained), len(change.lost)) for change in compare(jobs, other, window)]), 2000)


def _backlog(jobs: Sequence[Job]) -> Row:
    table, book = Timetable.load(timetable.build(jobs)), JobFile.load(job_file.build(jobs))
    now = _MINUTES[0]
    times = _times(lambda: plan_backlog(table, book, now - _DAY, now))
    return _row("plan a backlog of 24 hours", len(jobs), times, 500)


def _reading(lines: int) -> Row:
    """A crontab as a hostile user may leave it, ten times as long as Debian accepts."""
    text = "".join(f"{n % 60} {n % 24} * * {n % 7} /srv/job --number={n}\n" for n in range(lines)).encode()
    source = parser.Source("crontabs/deploy", False, "deploy")
    times = [_spent(lambda: parser.read(text, source)) for _ in range(3)]
    return _row(f"read a crontab of {lines:,} lines", lines, times, 10_000)


def _start() -> Row:
    """The script `lamp` of a finished set-up, with a Python that does nothing, so that nothing is downloaded."""
    with tempfile.TemporaryDirectory(prefix="lamp-bench-") as folder:
        house, python = Path(folder), Path(folder, ".venv", "bin", "python")
        (house / "requirements").mkdir()
        for name in ("lamp", "requirements/lamp.txt"):
            shutil.copy(roots.PRODUCT / name, house / name)
        python.parent.mkdir(parents=True)
        python.symlink_to(shutil.which("true") or "/bin/true")
        times = _times(lambda: subprocess.run([house / "lamp"], capture_output=True, check=True))
    return _row("./lamp until Python starts", 0, times, 50)


def _peer(name: str, jobs: Sequence[Job], table: Timetable, ours: float) -> Peer:
    if (installed := version(name)) is None:
        return Peer(name, None)
    ask = PEERS[name](jobs)
    apart = sum(differing(_ids(table, minute), ask(minute)) for minute in _PEER_MINUTES[:2])
    median = _median_of_minutes(ask, _PEER_MINUTES)
    at_least = _TIMES_CRONSIM if name == "cronsim" else None
    return Peer(name, installed, round(median, 3), round(median / ours, 1), at_least, apart)


def _times(work: Work) -> list[float]:
    """Milliseconds of each of `ROUNDS` runs, after one to warm up."""
    work()
    return [_spent(work) for _ in range(ROUNDS)]


def _spent(work: Work) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def _median_of_minutes(ask: Callable[[int], object], minutes: Sequence[int]) -> float:
    return statistics.median(_spent(lambda minute=minute: ask(minute)) for minute in minutes)  # type: ignore[misc]


def _row(what: str, jobs: int, times: list[float], limit: float | None) -> Row:
    median = statistics.median(times)
    return Row(what, jobs, round(median, 4), limit, limit is None or median <= limit, len(times))


def _print(console: Console, rows: Sequence[Row], peers: Sequence[Peer]) -> None:
    table = show.plain_table("what", "jobs", "ms (median)", "limit")
    for row in rows:
        limit = "" if row.limit_ms is None else f"{row.limit_ms:g}"
        table.add_row(row.what, f"{row.jobs:,}" if row.jobs else "", _good(f"{row.median_ms:,.3f}", row.within), limit)
    console.print(table)
    console.print()
    beside = show.plain_table("which of 10,000 jobs are due at a minute", "ms (median)", "times ours", "target")
    for peer in peers:
        beside.add_row(*_peer_row(peer))
    console.print(beside)
    console.print(f"in {len(ZONES)} time zones; medians of {ROUNDS} rounds, 3 for the crontab", style="dim")


def _peer_row(peer: Peer) -> tuple[Text, ...]:
    if peer.version is None or peer.median_ms is None:
        remedy = "not installed"
        return Text(peer.peer), Text(remedy, "dim"), Text(), Text()
    target = "" if peer.at_least is None else f"at least {peer.at_least}"
    told = f"{peer.peer} {peer.version}" + (f" ({peer.differing} answers differ)" if peer.differing else "")
    return Text(told), Text(f"{peer.median_ms:,.1f}"), _good(f"{peer.times:,.0f}", peer.within), Text(target)


def _good(text: str, good: bool) -> Text:
    return Text(text, "green" if good else "bold red")
