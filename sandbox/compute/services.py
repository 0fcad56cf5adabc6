"""One service of an instance, kept running as systemd keeps a unit with Restart=always and RestartSec=1.

From systemd.kill(5). A stop sends SIGTERM to every process of the unit and SIGCONT right after it, "to ensure that even
suspended tasks can be terminated cleanly". It kills the rest after TimeoutStopSec.
"""

import os
import signal
import subprocess
import threading
from pathlib import Path

from sandbox import processes

RESTART_SECONDS = 1.0
STOP_SECONDS = 5.0


class ServiceError(Exception):
    """A service could not be started or stopped. The text says why."""


class Service:
    """A command line that runs until it is stopped. Safe to use from several threads."""

    def __init__(self, name: str, command: str, mark: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._mark = f"{mark}/{name}/"
        self._environment = environment | {"LAMPLIGHTER_WORLD": self._mark}
        self._folder = folder
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def active(self) -> bool:
        """Whether its main process runs (a hung one does)."""
        process = self._process
        return process is not None and process.returncode is None

    def start(self) -> None:
        """Run it from now on. Nothing if it does already. Raises `ServiceError` when the command cannot be run."""
        with self._lock:
            if self._keeper is None:
                self._over = threading.Event()
                self._process = self._spawn()
                self._keeper = threading.Thread(target=self._keep, args=(self._over, self._process), daemon=True)
                self._keeper.start()

    def stop(self) -> None:
        """End it and all its children, first with SIGTERM, and with SIGKILL after STOP_SECONDS. Nothing if it does not
        run."""
        with self._lock:
            keeper, self._keeper = self._keeper, None
            self._over.set()
            if keeper is not None:
                self._end(keeper)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def _end(self, keeper: threading.Thread) -> None:
        for number in (signal.SIGTERM, signal.SIGCONT):
            processes.signal_all(self._mark, number)
        keeper.join(STOP_SECONDS)
        # Whatever outlived the main process is part of the service too (KillMode=control-group).
        processes.end(self._mark)
        keeper.join()

    def _keep(self, over: threading.Event, process: "subprocess.Popen[bytes]") -> None:
        while True:
            processes.finish(process)
            if over.wait(RESTART_SECONDS):
                return
            # Restart=always counts the whole unit: what the dead main process left behind goes first.
            processes.end(self._mark)
            process = self._process = self._spawn()
            if over.is_set():  # asked to stop just before there was anything to signal
                processes.end(self._mark)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        logs = self._folder / "log"
        logs.mkdir(exist_ok=True)
        with (logs / f"{self.name}.log").open("ab") as log:
            try:
                return processes.awaited(lambda: subprocess.Popen(
                    ["/bin/sh", "-c", self._command], cwd=self._folder, env=self._environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            except OSError as error:
                raise ServiceError(f"{self.name}: {os.strerror(error.errno or 0)}") from error
