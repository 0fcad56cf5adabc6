"""`./lamp simulate schedules`, exactly once, tried with every fault of a seed."""

import contextlib
import io
import os
import signal
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import Progress
from rich.table import Table

from commands.terminal import Console, write_json

if TYPE_CHECKING:
    from chalicelib.crontab.job import Job
    from simulation.schedules.options import Chances, Verdict

# 2026-03-28 00:00 UTC: Europe's clocks go forward in the night after.
_FIRST = 29_577_600
_MINUTES = 1200


class World(msgspec.Struct, frozen=True):
    """One world to simulate, with the seed, and whether it has other faults than the loss of regions.

    `home_away` are the minutes, from the first, in which the home region is away for certain. With `to_first_harm` it
    ends at the first slot that starts twice, and at the first overlap. If it is `turned`, the coordination table is
    restored from a backup of twenty minutes before, a region's clock is an hour wrong for twenty minutes, and events of
    other years come.
    """

    seed: int
    chaos: bool
    minutes: int
    home_away: tuple[int, int] | None = None
    to_first_harm: bool = False
    turned: bool = False


def simulate(
    slots: Annotated[int, typer.Option(help="How many slots to try, at least.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The first seed. Each world takes the next.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Three regions run one timetable through lost, late and double triggers, wrong clocks, crashes and outages.

    Exits with 1 if any slot was started twice or lost, or was taken over too late.
    """
    began = time.monotonic()
    verdicts = run(slots, seed, Console(stderr=True))
    report = summary(verdicts) | {"seconds": round(time.monotonic() - began, 1)}
    if as_json:
        write_json(report)
    else:
        _print(report)
    bad = any(report[key] for key in ("twice", "lost", "overlaps", "idle", "silent", "takeovers_too_late"))
    raise typer.Exit(int(bad))


def run(slots: int, seed: int, console: Console) -> list[tuple[World, "Verdict"]]:
    """Worlds, one a core at a time, until they hold so many slots. Every eighth has only outages.

    Those time how fast another region takes over.
    """
    done: list[tuple[World, Verdict]] = []
    seeds, cores = _worlds(seed), os.cpu_count() or 1
    # Leaving the pool ends its processes at once; Ctrl-C is for this process alone. One folder holds the files of all.
    with (tempfile.TemporaryDirectory(prefix="lamp-simulation-") as folder,
          Progress(console=console, transient=True) as progress, Pool(cores, _quiet_worker) as pool):
        bar = progress.add_task("slots", total=slots)
        waiting = deque(pool.apply_async(simulated, (next(seeds), folder)) for _ in range(cores + 1))
        while sum(verdict.slots for _, verdict in done) < slots:
            done.append(waiting.popleft().get())
            waiting.append(pool.apply_async(simulated, (next(seeds), folder)))
            progress.update(bar, advance=done[-1][1].slots)
    return done


def _quiet_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worlds(seed: int) -> Iterator[World]:
    number = 0
    while True:
        yield World(seed + number, chaos=number % 8 != 7, minutes=_MINUTES)
        number += 1


def simulated(world: World, home: str | None = None) -> tuple[World, "Verdict"]:
    """One world, from its seed to its result. Its files lie in the folder `home`."""
    from chalicelib.config import fleet
    from chalicelib.crontab import job_file, timetable
    from simulation.schedules import world as simulation

    with tempfile.TemporaryDirectory(prefix="world-", dir=home) as folder:
        root, jobs = Path(folder), list(_jobs())
        (root / "timetable.bin").write_bytes(timetable.build(jobs))
        (root / "jobs.bin").write_bytes(job_file.build(jobs))
        declared = fleet.parse(_FLEET, "the simulation's fleet")
        made = simulation.World(declared, root, world.seed, _FIRST, world.minutes, _chances(world),
                                to_first_harm=world.to_first_harm)
        with _hush():
            return world, made.run()


@contextlib.contextmanager
def _hush() -> Iterator[None]:
    """No log lines of the operations, and no metrics, which are printed lines too."""
    from chalicelib.engine.metrics import logger

    level = logger.log_level
    logger.setLevel("CRITICAL")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _chances(world: World) -> "Chances":
    from simulation.schedules.options import Chances

    if world.turned:
        third = world.minutes // 3
        return Chances(outages=0, backup=(third - 20, third), wrong_clock=(2 * third, 2 * third + 20),
                       strange_event=0.1)
    if world.chaos:
        return Chances(home_away=world.home_away)
    return Chances(crash=0, silence=0, tick_lost=0, tick_twice=0, tick_late=0, message_twice=0, outages=12, people=0,
                   home_away=world.home_away)


_FLEET = """
name = "lamplighter"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}, {name = "ap-southeast-1"}]
[coordination]
regions = ["eu-west-1", "eu-central-1", "eu-west-3"]
"""


def _jobs() -> Iterator["Job"]:
    """Forty jobs of every kind, wildcard and fixed-time, in several zones, with each policy."""
    from chalicelib.crontab.expression import parse
    from chalicelib.crontab.job import Job, Policy

    shapes = [("* * * * *", Policy()), ("*/2 * * * *", Policy()), ("*/5 * * * *", Policy(retries=2)),
              ("1-59/2 0-23 * * *", Policy()), ("30 2 * * *", Policy()), ("*/3 * * * *", Policy(overlap="skip")),
              ("* * * * *", Policy(overlap="queue-one")), ("*/2 * * * *", Policy(overlap="replace")),
              ("0-59/4 1,2,3 * * *", Policy(jitter=20)), ("@hourly", Policy(catch_up="all"))]
    # Some commands run elsewhere, and their worker only looks at them now and then.
    elsewhere, posted = {11, 15, 22, 26, 27, 35}, {2, 32}
    zones = ("UTC", "Europe/Stockholm", "America/New_York", "Australia/Lord_Howe")
    for number in range(40):
        schedule, policy = shapes[number % len(shapes)]
        if number in elsewhere or policy.overlap == "replace":
            policy = msgspec.structs.replace(policy, on="ssm")
        elif number in posted:
            policy = msgspec.structs.replace(policy, on="http")
        yield Job(f"sim/{number}", parse(schedule), schedule, zones[number // len(shapes)], "true", "", {}, "root",
                  None, policy, "sim", number + 1, "crontab")


def summary(verdicts: list[tuple[World, "Verdict"]]) -> dict[str, object]:
    """All worlds' figures in one."""
    found = [verdict for _, verdict in verdicts]
    clean = [verdict for world, verdict in verdicts if not world.chaos]
    crashes: Counter[str] = Counter()
    for verdict in found:
        crashes.update(verdict.crashes)
    names = ("slots", "twice", "lost", "overlaps", "idle", "silent", "interrupted", "outages", "taken_over")
    sums = {name: sum(getattr(verdict, name) for verdict in found) for name in names}
    return sums | {
        "worlds": len(found), "takeovers_too_late": sum(verdict.slow for verdict in clean),
        "takeover_seconds_beyond_patience": max((verdict.takeover for verdict in clean), default=None),
        "crashes": dict(sorted(crashes.items())),
        "bad_seeds": [world.seed for world, verdict in verdicts
                      if verdict.twice or verdict.lost or verdict.overlaps or verdict.idle or verdict.silent]}


def _print(report: dict[str, object]) -> None:
    table = Table(title="exactly once, simulated", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{call} {count}" for call, count in value.items())
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
