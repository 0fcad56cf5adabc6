"""The facts of the sandbox for every part of the compute emulation."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sandbox.faults import Faults
from testing.addresses import Addresses


class Run:
    """The sandbox's mark and folder, its faults, its addresses, and its pace. Waits are `pace` times as short."""

    def __init__(self, mark: str, folder: Path, faults: Faults) -> None:
        self.mark = mark
        self.folder = folder
        self.faults = faults
        self.addresses = Addresses()
        self.pace = 1.0
        self.ending: set[str] = set()  # regions whose processes are being killed just now
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """A clock that never goes back, in seconds."""
        return time.monotonic()

    def down(self, region: str) -> bool:
        """Whether nothing may run in `region`."""
        return region in self.faults.stopped or region in self.ending

    def wake(self) -> None:
        """Look at once, after a change. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def rest(self, seconds: float) -> None:
        """Wait until `wake`, at most `seconds`."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` beside everything else, and look again when it is done. Its exceptions reach the loop's handler."""
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "the hypervisor failed at something", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)
