"""`lamp bench schedules`, the cost of the timetable, and of its peers in the same run."""

import importlib.metadata
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import typer

from chalicelib.crontab import job_file, parser, timetable
from chalicelib.crontab.calendar import bits
from chalicelib.crontab.diff import Window, compare
from chalicelib.crontab.job import Job
from chalicelib.crontab.job_file import JobFile
from chalicelib.crontab.timetable import Timetable
from chalicelib.schedules.decide.backlog import plan_backlog
from commands.bench import peers
from commands.bench.figures import Figure, cpu_ms, report
from commands.develop import groups
from commands.errors import UsageError
from testing.jobs import crowd

# Minutes asked about in one round: primes apart, so that all minutes of the hour and hours of the day come up.
_MINUTES = range(29_720_160, 29_720_160 + 211 * 60, 211)
_NOW, _DAY = _MINUTES[0], 1440
# How many times as long cronsim must take at least for the same answers.
_CRONSIM_TIMES = 500.0


def bench(as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False) -> None:
    """Measure the CPU time of the timetable with 10,000 and 100,000 jobs in 40 time zones, and its peers with 10,000.

    Exits with 1 if a limit is not kept.
    """
    try:
        groups.need("bench")
    except UsageError as missing:
        print(f"lamp: {missing}", file=sys.stderr)  # the timetable is measured all the same
    report(_measure(), as_json=as_json)


def _measure() -> Iterator[Figure]:
    small, large = crowd(10_000), crowd(100_000)
    yield from _index(small, 1)
    yield from _index(large, 5)
    yield from _long_work(small)
    yield crontab(100_000)
    for name in () if groups.lacking("bench") else peers.PEERS:
        yield from _peer(f"{name} {importlib.metadata.version(name)}", peers.ask(name, small), _ask(small))


def _index(jobs: Sequence[Job], limit: float) -> Iterator[Figure]:
    table, book = timetable.build(jobs), job_file.build(jobs)
    count = f"{len(jobs):,} jobs"
    yield _limited(f"{count}: due at a minute", _minute(_ask(jobs), _MINUTES), limit)
    yield _limited(f"{count}: load both files", _median(lambda: (Timetable.load(table), JobFile.load(book))), 1)


def _long_work(jobs: Sequence[Job]) -> Iterator[Figure]:
    table, book = Timetable.load(timetable.build(jobs)), JobFile.load(job_file.build(jobs))
    other, window = crowd(len(jobs), seed=2), Window(_NOW // _DAY, 400)
    yield _limited("10,000 jobs: diff over 400 days, all changed", _median(
        lambda: [(len(change.gained), len(change.lost)) for change in compare(jobs, other, window)]), 2000)
    yield _limited("10,000 jobs: plan a backlog of 24 hours",
                   _median(lambda: plan_backlog(table, book, _NOW - _DAY, _NOW)), 500)


def crontab(lines: int) -> Figure:
    """A crontab as a hostile user may leave it, ten times as long as Debian accepts."""
    text = "".join(f"{n % 60} {n % 24} * * {n % 7} /srv/job --number={n}\n" for n in range(lines)).encode()
    source = parser.Source("crontabs/deploy", False, "deploy")
    return _limited(f"read a crontab of {lines:,} lines", _median(lambda: parser.read(text, source), 3), 10_000)


def _peer(peer: str, theirs: peers.Ask, ours: peers.Ask) -> Iterator[Figure]:
    minutes = _MINUTES[:: len(_MINUTES) // 7]
    differing = sum(len(set(ours(minute)) ^ set(theirs(minute))) for minute in minutes[:2])
    spent = _minute(theirs, minutes)
    yield Figure(f"{peer}: due at a minute", spent, "ms")
    limit = ("at least", _CRONSIM_TIMES) if peer.startswith("cronsim") else ()
    yield Figure(f"{peer}: times as long", spent / _minute(ours, _MINUTES), "", *limit)
    yield Figure(f"{peer}: answers that differ", differing, "", "at most", 0)


def _ask(jobs: Sequence[Job]) -> peers.Ask:
    """The same question to the timetable."""
    table = Timetable.load(timetable.build(jobs))
    return lambda minute: list(bits(table.due(minute).bitmap))


def _median(work: Callable[[], object], rounds: int = 7) -> float:
    """Milliseconds of CPU, after one run to warm up."""
    work()
    return statistics.median(cpu_ms(work) for _ in range(rounds))


def _minute(ask: peers.Ask, minutes: Sequence[int]) -> float:
    return statistics.median(cpu_ms(partial(ask, minute)) for minute in minutes)


def _limited(name: str, milliseconds: float, limit: float) -> Figure:
    return Figure(name, milliseconds, "ms", "at most", limit)
