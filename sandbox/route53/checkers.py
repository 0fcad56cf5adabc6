"""The checkers, one per region and health check, each with its own pace and its own state.

A clock and a probe are given, so that a test needs neither time nor network. `step` does what is due.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

import msgspec

from sandbox.route53.checks import ENDPOINT, REGIONS, Check, Config
from sandbox.route53.probes import Result, probe
from sandbox.route53.verdicts import AfterMove, Streak

Probe = Callable[[Config, str], Result]
Resolve = Callable[[str], str | None]

_WORKERS = 32
_BEAT_SECONDS = 0.05


class View(msgspec.Struct):
    """The state of one checker for one health check. `due` is when it probes next, infinite while a probe is under way.
    """

    region: str
    due: float
    mind: Streak = Streak()
    text: str = ""
    checked: float | None = None


class Checkers:
    """All checkers of all health checks. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float], resolve: Resolve, probe: Probe = probe,
                 after_move: AfterMove = "carry") -> None:
        self._clock, self._resolve, self._probe, self._after_move = clock, resolve, probe, after_move
        self._lock = threading.Lock()
        self._checks: dict[str, Check] = {}
        self._views: dict[str, list[View]] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="route53-probe")
        self._errors: list[BaseException] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="route53-checkers", daemon=True)

    def know(self, checks: Iterable[Check]) -> None:
        """These are the health checks from now on."""
        with self._lock:
            before, self._checks = self._checks, {check.id: check for check in checks if check.kind in ENDPOINT}
            self._views = {id: self._renewed(before.get(id), check) for id, check in self._checks.items()}

    def _renewed(self, before: Check | None, check: Check) -> list[View]:
        regions = list(check.config.get("Regions", REGIONS))
        views = {view.region: view for view in self._views.get(check.id, ())}
        pace, now = check.config["RequestInterval"] / len(regions), self._clock()
        # Checkers do not wait for one another, so they are spread over the interval.
        kept = [views.get(region) or View(region, now + pace * number) for number, region in enumerate(regions)]
        if before is not None and before.epoch != check.epoch:
            kept = [View(view.region, now + pace * number, view.mind.moved(self._after_move))
                    for number, view in enumerate(kept)]
        return kept

    def minds(self) -> dict[str, list[bool]]:
        """By health check, whether each of its checkers holds it to be healthy."""
        with self._lock:
            return {id: [view.mind.healthy for view in views] for id, views in self._views.items()}

    def views(self, id: str) -> list[View]:
        """The last results of each checker of the health check `id`."""
        with self._lock:
            return [msgspec.structs.replace(view) for view in self._views.get(id, ())]

    def step(self) -> int:
        """Make all probes that are due, wait for them, and say how many there were."""
        started = self._start()
        wait(started)
        self._raise()
        return len(started)

    def next_due(self) -> float:
        """When the next probe is due. Infinite if none is."""
        with self._lock:
            dues = [view.due for id, views in self._views.items() if not self._checks[id].config["Disabled"]
                    for view in views]
        return min(dues, default=float("inf"))

    def _start(self) -> list[Future[None]]:
        now = self._clock()
        with self._lock:
            due = [(check, view) for id, check in self._checks.items() if not check.config["Disabled"]
                   for view in self._views[id] if view.due <= now]
            for _, view in due:
                view.due = float("inf")
            started = [self._pool.submit(partial(self._look, check, view)) for check, view in due]
        for future in started:
            future.add_done_callback(self._note)
        return started

    def _note(self, future: Future[None]) -> None:
        error = future.exception()
        if error is not None:
            self._errors.append(error)

    def _look(self, check: Check, view: View) -> None:
        address = check.config.get("IPAddress") or self._resolve(check.config["FullyQualifiedDomainName"])
        result = self._probe(check.config, address) if address else Result(False, "Failure: DNS resolution failed")
        with self._lock:
            # A target that has changed meanwhile has views of its own: this one is then nobody's.
            view.mind = view.mind.after(result.passed, int(check.config["FailureThreshold"]))
            view.text, view.checked = result.text, self._clock()
            view.due = view.checked + check.config["RequestInterval"]

    def start(self) -> None:
        """Probe from now on, in threads of its own, until `end`."""
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            self._start()

    def end(self) -> None:
        """Stop probing and wait for what is under way. An error of the checkers' own is raised here at the latest."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()
        self._raise()

    def _raise(self) -> None:
        if self._errors:
            raise self._errors.pop()

