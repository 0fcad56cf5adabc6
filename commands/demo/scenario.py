"""The shared parts of the demo's scenarios. Each runs in a thread of its own, and its report has its failures."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from commands.deploy.packaging import Package
from sandbox.world import Sandbox

LOOK_SECONDS = 0.5


class Story:
    """One scenario. `_run` runs it, `note` gives its progress, and `over` is set at its end."""

    def __init__(self, world: Sandbox, package: Package, note: str) -> None:
        self.world, self.package, self.note = world, package, note
        self.over = threading.Event()
        self.failures: list[str] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Waits for the end. An error in the scenario itself is raised here."""
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        raise NotImplementedError

    def _guarded(self) -> None:
        try:
            self._run()
        except RuntimeError as error:
            # Something was refused, or not done in time: that is the story's end, not the demo's.
            self.failures.append(str(error))
        except BaseException as error:  # raised by `join`, in the thread that asks
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
        """The answer of a packaged Lambda. RuntimeError if it broke."""
        answer = self.world.client("lambda", region).invoke(
            FunctionName=f"{self.package.stack}-{function}", Payload=json.dumps(event))
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        if "errorMessage" in found:
            raise RuntimeError(f"{function}: {found['errorMessage']}")
        return found


def patient(done: Callable[[], bool], seconds: float, look: float = LOOK_SECONDS) -> bool:
    """Whether it is `done` within `seconds`. Asked every `look` seconds."""
    deadline = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(look)
    return found
