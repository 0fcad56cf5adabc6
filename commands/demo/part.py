"""The shared pieces of the demo's parts. Each part runs in a thread of its own and reports what did not hold."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import RenderableType

from commands.deploy.packaging import Package
from sandbox.world import Sandbox, WorldError

LOOK_SECONDS = 0.5
# How a world that refuses, or is too busy to answer, shows itself to the one who asks it.
WENT_WRONG = (RuntimeError, WorldError, ClientError, BotoCoreError)


class Section(msgspec.Struct, frozen=True):
    """A part's end: a title, a table and sentences for people, the same figures for programs, and what did not hold."""

    title: str
    table: RenderableType | None
    sentences: list[str]
    figures: Any
    failures: list[str]


class Outage:
    """The death of a region, and its return. Times are epoch seconds, 0 before."""

    def __init__(self, world: Sandbox, region: str) -> None:
        self._world, self.region = world, region
        self.killed, self.revived = threading.Event(), threading.Event()
        self.died = self.returned = 0.0

    def kill(self) -> None:
        """The region dies."""
        self.died = time.time()
        self._world.stop_region(self.region)
        self.killed.set()

    def revive(self) -> None:
        """The region is there again."""
        self._world.start_region(self.region)
        self.returned = time.time()
        self.revived.set()


class Part:
    """One part. `_run` runs it, `note` gives its progress, and `over` is set at its end."""

    def __init__(self, world: Sandbox, package: Package, note: str) -> None:
        self.world, self.package, self.note = world, package, note
        self.over = threading.Event()
        self.failures: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def section(self) -> Section:
        """Waits for the end. An error in the part itself is raised here."""
        self._thread.join()
        if self._error:
            raise self._error
        try:
            return self._section()
        except WENT_WRONG as error:
            lost = f"what became of it could not be read: {error}"
            return Section(type(self).__name__, None, [], None, [*self.failures, lost])

    def _run(self) -> None:
        raise NotImplementedError

    def _section(self) -> Section:
        return Section(type(self).__name__, None, [], None, self.failures)

    def _guarded(self) -> None:
        try:
            self._run()
        except WENT_WRONG as error:
            # Something was refused, or not done in time: that is the part's end, not the demo's.
            self.failures.append(str(error))
        except BaseException as error:  # raised by `section`, in the thread that asks
            self._error = error
        finally:
            self.over.set()

    def beside(self, work: Callable[[], None]) -> threading.Thread:
        """`work` in a thread of its own. Its error is in the report, because its observations are missing."""
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.failures.append(f"{work.__name__.strip('_')} ended: {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def invoke(self, function: str, event: dict[str, Any], region: str) -> dict[str, Any]:
        """The answer of a packaged Lambda. RuntimeError if it broke, or did not do what it was told to apply."""
        answer = self.world.client("lambda", region).invoke(
            FunctionName=f"{self.package.stack}-{function}", Payload=json.dumps(event))
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        if "errorMessage" in found:
            raise RuntimeError(f"{function}: {found['errorMessage']}")
        if found["status"] in ("refused", "failed"):
            raise RuntimeError(f"{function} in {region}: {found['status']}: {found['message']}")
        return found


def patient(done: Callable[[], bool], seconds: float, look: float = LOOK_SECONDS) -> bool:
    """Whether it is `done` within `seconds`. Asked every `look` seconds."""
    deadline = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(look)
    return found
