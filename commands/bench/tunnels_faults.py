"""Random faults of real tunnels while two controllers work at the same time, with nothing but the store between them.

Each yard (`tunnels_region`) is a world of its own. Several of them take their faults from one list, for a fault is
mostly waiting. Between two faults the controller's budgets and cooldowns are reset in its state, since 4 repairs in 10
minutes would make days of 500 faults. The simulation proves that those hold.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from rich.progress import Progress

from commands.bench import tunnels_report as figures
from commands.bench.tunnels_region import BenchRegion, Draw, draws, opened
from commands.bench.tunnels_report import Fault, Row
from commands.errors import UsageError
from sandbox.hosts import programs


def measure(count: int, seed: int, yards: int, bars: Progress) -> Iterator[Row]:
    """So many faults in so many yards, and what came of them."""
    needed()
    bar = bars.add_task("faults", total=count)

    def tell(fault: Fault) -> None:
        time_told = "not healed" if fault.seconds is None else f"{fault.seconds:.1f} s, {fault.how}"
        bars.console.print("; ".join([f"{fault.name}: {time_told}", *fault.doubles]), style="dim", markup=False)
        bars.advance(bar)

    with ExitStack() as held:
        made = [held.enter_context(opened(f"{seed}/{number}")) for number in range(min(yards, count))]
        work(made, iter(draws(count, seed)), tell)
        told = [fault for yard in made for fault in yard.told]
        written, lost = (sum(each) for each in zip(*(yard.rows.count() for yard in made), strict=True))
        healers = [sum(each) for each in zip(*(yard.counts() for yard in made), strict=True)]
        yield from figures.rows(told, count, written, lost, healers)


def work(yards: Sequence[BenchRegion], waiting: Iterator[Draw], tell: Callable[[Fault], None]) -> None:
    """All that is `waiting`, each by the yard that is free first. A yard that nobody can mend takes no more.

    If one breaks, which is no fault of tunnels, then all end at once, and that is raised.
    """
    def suffer(yard: BenchRegion) -> None:
        try:
            while not yard.over.is_set() and (draw := next(waiting, None)):
                tell(told := yard.suffer(draw))
                if told.seconds is None and not yard.mended():
                    return
        except BaseException:
            end()
            raise

    def end() -> None:
        for yard in yards:
            yard.over.set()

    with ThreadPoolExecutor(len(yards)) as pool:
        try:
            list(pool.map(suffer, yards))
        finally:
            end()


def needed() -> None:
    """A usage error without MariaDB, because nothing else has rows that can get lost."""
    if not programs.found().mariadbd:
        raise UsageError("this part needs mariadbd. Run apt-get install mariadb-server openssh-server")
