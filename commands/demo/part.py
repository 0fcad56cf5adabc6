"""The shared pieces of the demo's parts. Each part runs in a thread of its own and reports what did not hold."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import RenderableType

from chalicelib.config.declared import Fleet
from commands.demo.staged import STAGE
from commands.deploy.packaging import Package
from commands.errors import UsageError
from commands.operate.client import OperationClient
from sandbox.crowd import Outage
from sandbox.world import Sandbox, WorldError

LOOK_SECONDS, DEADLINE_SECONDS = 0.5, 600.0
# How a world that refuses, or is too busy to answer, shows itself to the one who asks it.
WENT_WRONG = (RuntimeError, UsageError, WorldError, ClientError, BotoCoreError)


class Section(msgspec.Struct, frozen=True):
    """A part's end: a title, a table and sentences for people, the same figures for programs, and what did not hold."""

    title: str
    table: RenderableType | None
    sentences: list[str]
    figures: Any
    failures: list[str]


class Part:
    """One part. `prepare` comes before the deployment, and `_run` after it. `note` gives the progress."""

    def __init__(self, world: Sandbox, fleet: Fleet, outage: Outage) -> None:
        self.world, self.outage, self.stack = world, outage, f"{fleet.name}-{STAGE}"
        self._lambdas = OperationClient(fleet, STAGE, world.client, "the demo")
        self.regions = [region.name for region in fleet.regions]
        self.fleet, self.note, self.failures = fleet, "it begins", list[str]()

    def prepare(self, held: ExitStack) -> str:
        """Makes what the deployment finds, until `held` is closed. The text that comes below fleet.toml."""
        return ""

    def start(self, package: Package) -> None:
        """Begin, in a world to which `package` is deployed."""
        self.fleet = package.fleet
        self._thread = self.beside(self._run)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def section(self) -> Section:
        """Waits for the end, and reports it."""
        self._thread.join()
        try:
            return self._section()
        except WENT_WRONG as error:
            self.failures.append(f"what became of it could not be read: {error}")
            return Section(type(self).__name__, None, [], None, self.failures)

    def _run(self) -> None:
        raise NotImplementedError

    def _section(self) -> Section:
        raise NotImplementedError

    def beside(self, work: Callable[[], None]) -> threading.Thread:
        """`work` in a thread of its own. Its error is in the report, because its observations are missing."""
        def guarded() -> None:
            try:
                work()
            except WENT_WRONG as error:  # something was refused, or not done in time
                self.failures.append(str(error))
            except Exception as error:
                self.failures.append(f"{work.__qualname__} broke: {type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def wait(self, done: Callable[[], bool], otherwise: str, seconds: float = DEADLINE_SECONDS,
             look: float = LOOK_SECONDS) -> None:
        """Waits until it is `done`. RuntimeError says what is so `otherwise`."""
        if not patient(done, seconds, look):
            raise RuntimeError(f"{otherwise} after {seconds:.0f} s")

    def invoke(self, operation: str, event: dict[str, Any], region: str) -> dict[str, Any]:
        """The outcome of a deployed operation. RuntimeError if it broke, or did not do what it was told to apply."""
        answer = self._lambdas.ask(operation, event, region)
        if answer.error or answer.outcome["status"] in ("refused", "failed"):
            raise RuntimeError(f"{operation} in {region}: {answer.error or answer.outcome['message']}")
        return answer.outcome


def patient(done: Callable[[], bool], seconds: float, look: float = LOOK_SECONDS) -> bool:
    """Whether it is `done` within `seconds`. Asked every `look` seconds."""
    deadline = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(look)
    return found
