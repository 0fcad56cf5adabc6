"""`lamp bench schedules`, the cost of the timetable, and of its peers in the same run."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
from commands.bench.figures import Figure, report
from commands.bench.schedules_generate import crowd
from commands.develop import groups
from commands.errors import UsageError

# Minutes asked about in one round: primes apart, so that all minutes of the hour and hours of the day come up.
_MINUTES = range(29_720_160, 29_720_160 + 211 * 60, 211)
_NOW, _DAY = _MINUTES[0], 1440
# The times as long that a peer must take at least for the same answers.
_TIMES = {"cronsim": 500.0}


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
    for name in peers.PEERS:
        yield from _peer(name, small)


def _index(jobs: Sequence[Job], limit: float) -> Iterator[Figure]:
    table, book = timetable.build(jobs), job_file.build(jobs)
    loaded, count = Timetable.load(table), f"{len(jobs):,} jobs"
    yield _limited(f"{count}: due at a minute", _minute(lambda minute: _ids(loaded, minute), _MINUTES), limit)
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


def _peer(name: str, jobs: Sequence[Job]) -> Iterator[Figure]:
    if not (version := peers.version(name)):
        return  # `bench` has said so
    table, ask = Timetable.load(timetable.build(jobs)), peers.ask(name, jobs)
    minutes = _MINUTES[:: len(_MINUTES) // 7]
    differing = sum(len(set(_ids(table, minute)) ^ set(ask(minute))) for minute in minutes[:2])
    seconds = _minute(ask, minutes)
    times = seconds / _minute(lambda minute: _ids(table, minute), _MINUTES)
    yield Figure(f"{name} {version}: due at a minute", seconds, "ms")
    at_least = _TIMES.get(name)
    yield Figure(f"{name} {version}: times as long", times, "", "at least" if at_least else "", at_least or 0)
    yield Figure(f"{name} {version}: answers that differ", differing, "", "at most", 0)


def _ids(table: Timetable, minute: int) -> list[int]:
    return list(bits(table.due(minute).bitmap))


def _median(work: Callable[[], object], rounds: int = 7) -> float:
    """Milliseconds of CPU, after one run to warm up."""
    work()
    return statistics.median(_spent(work) for _ in range(rounds))


def _minute(ask: Callable[[int], object], minutes: Sequence[int]) -> float:
    return statistics.median(_spent(lambda minute=minute: ask(minute)) for minute in minutes)  # type: ignore[misc]


def _spent(work: Callable[[], object]) -> float:
    # Of CPU: whatever else runs on the machine must not break a limit.
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def _limited(name: str, milliseconds: float, limit: float) -> Figure:
    return Figure(name, milliseconds, "ms", "at most", limit)
