"""A simulated clock that runs many processes in turn, always in the same order for the same seed.

A process is a plain function call in a greenlet of its own. Whenever it waits (each call to the outside does) others
go on, so calls of different processes interleave as they would on different machines.
"""

import heapq
import random
from collections.abc import Callable, Hashable
from itertools import count

import greenlet


class Crash(BaseException):
    """The machine under a process is gone. It is not an `Exception`, so that no code may handle it."""


class SimulatedProcess(greenlet.greenlet):
    """One running function. `place` is where it runs. Once `gone` it cannot reach anything any more."""

    def __init__(self, work: Callable[[], object], place: Hashable, scheduler: "Scheduler") -> None:
        super().__init__(work, parent=scheduler.loop)
        self.place = place
        self.gone = False


class Scheduler:
    """The clock (seconds), the queue of what comes next, and the source of all chance."""

    def __init__(self, seed: int, start: float) -> None:
        self.now = start
        self.chance = random.Random(seed)  # noqa: S311 - chance here must be repeatable
        self.loop = greenlet.getcurrent()
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._alive: set[SimulatedProcess] = set()
        self._stopped = False

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call `call` at `when`. At once if that is over."""
        heapq.heappush(self._queue, (when, next(self._order), call))

    def spawn(self, work: Callable[[], object], place: Hashable, ended: Callable[[BaseException | None], None]) -> None:
        """Run `work` as a process at `place`. `ended` hears how it went: `None`, its exception, or a `Crash`."""
        process = SimulatedProcess(work, place, self)
        self._alive.add(process)
        self._begin(process, ended)

    def wait(self, seconds: float) -> None:
        """Let the current process sleep. Raises `Crash` in it if its place is lost meanwhile."""
        process = self.current()
        if process.gone:
            raise Crash
        if not self._queue or self._queue[0][0] > self.now + seconds:
            self.now += seconds  # nothing else happens meanwhile
            return
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), process.switch))
        self.loop.switch()
        if process.gone:
            raise Crash

    def current(self) -> SimulatedProcess:
        """The process that is running now."""
        process = greenlet.getcurrent()
        if not isinstance(process, SimulatedProcess):
            raise TypeError("only a process may wait")
        return process

    def kill(self, place: Hashable) -> None:
        """Everything that runs at `place` is gone."""
        for process in [process for process in self._alive if process.place == place]:
            process.gone = True
            process.throw(Crash)

    def stop(self) -> None:
        """Time stands still after what happens now."""
        self._stopped = True

    def run(self, until: float) -> None:
        """Let time pass until `until`, or until somebody calls `stop`."""
        queue = self._queue
        self.at(until, lambda: None)  # no process waits beyond the end unnoticed
        while queue and queue[0][0] <= until:
            when, _, call = heapq.heappop(queue)
            self.now = max(self.now, when)
            call()
            if self._stopped:
                return
        self.now = until

    def _begin(self, process: SimulatedProcess, ended: Callable[[BaseException | None], None]) -> None:
        work = process.run

        def guarded() -> None:
            failure: BaseException | None = None
            try:
                work()
            except Crash as crash:
                process.gone = True
                failure = crash
            except Exception as error:
                failure = error
            self._alive.discard(process)
            ended(failure)

        process.run = guarded
        process.switch()
