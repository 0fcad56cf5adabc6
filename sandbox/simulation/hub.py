"""A simulated clock that runs many activities in turn, always in the same order for the same seed.

An activity is a plain function call in a greenlet of its own. Whenever it waits (each call to the outside does) others
go on, so calls of different activities interleave as they would on different machines.
"""

import heapq
import random
from collections.abc import Callable
from itertools import count

import greenlet


class Crash(BaseException):
    """The machine under an activity is gone. It is not an `Exception`, so that no code may handle it."""


class SimulatedProcess(greenlet.greenlet):
    """One running function. `place` is where it runs. Once `gone` it cannot reach anything any more."""

    def __init__(self, work: Callable[[], object], place: str, hub: "Scheduler") -> None:
        super().__init__(work, parent=hub.loop)
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

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call `call` at `when`."""
        heapq.heappush(self._queue, (when, next(self._order), call))

    def spawn(self, work: Callable[[], object], place: str, ended: Callable[[BaseException | None], None]) -> None:
        """Run `work` as an activity at `place`. `ended` is told how it went."""
        activity = SimulatedProcess(work, place, self)
        self._alive.add(activity)
        self._resume(activity, ended)

    def wait(self, seconds: float) -> None:
        """Let the current activity sleep. Raises `Crash` in it if its place is lost meanwhile."""
        activity = self.current()
        if activity.gone:
            raise Crash
        self.at(self.now + seconds, lambda: activity.switch() if not activity.gone else None)
        self.loop.switch()
        if activity.gone:
            raise Crash

    def current(self) -> SimulatedProcess:
        """The activity that is running now."""
        activity = greenlet.getcurrent()
        if not isinstance(activity, SimulatedProcess):
            raise TypeError("only an activity may wait")
        return activity

    def kill(self, place: str) -> None:
        """Everything that runs at `place` is gone."""
        for activity in [activity for activity in self._alive if activity.place == place]:
            activity.gone = True
            activity.throw(Crash)

    def run(self, until: float) -> None:
        """Let time pass until `until`."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, call = heapq.heappop(self._queue)
            call()
        self.now = until

    def _resume(self, activity: SimulatedProcess, ended: Callable[[BaseException | None], None]) -> None:
        work = activity.run

        def guarded() -> None:
            failure: BaseException | None = None
            try:
                work()
            except Crash as crash:
                activity.gone = True
                failure = crash
            except Exception as error:
                failure = error
            self._alive.discard(activity)
            ended(failure)

        activity.run = guarded
        activity.switch()
