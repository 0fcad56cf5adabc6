"""The server's side of one instance. It boots its supervisor, shuts it down, and sends it commands."""

import asyncio
import base64
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from sandbox import processes
from sandbox.compute import systemctl

ROOT = Path(__file__).resolve().parent.parent.parent
OFF, BOOTING, ON, ENDING = "off", "booting", "on", "ending"
_DOWN_SECONDS = 15.0
_RETRY_SECONDS = 1.0
_LINE_BYTES = 2**20  # two outputs of 24,000 characters, each at most six bytes of JSON
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

log = logging.getLogger("compute")


class Gone(Exception):
    """The instance ended before it had answered."""


class Spec(msgspec.Struct, frozen=True):
    """An instance. `folder` is its disk, `mark` begins the marks of all its processes (without the last /)."""

    instance: str
    region: str
    address: str
    mark: str
    folder: Path
    user_data: str


class Machine:
    """One instance's processes. Its disk, a folder, outlives them until `discard`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.phase = OFF
        self._process: asyncio.subprocess.Process | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._down = asyncio.Event()

    async def boot(self, services: dict[str, str]) -> None:
        """Start the supervisor and, by it, the services. `phase` is ON once it has. Call it only when OFF."""
        self.phase = BOOTING
        try:
            self._lay_disk()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-P", "-m", "sandbox.compute.supervisor", cwd=self.spec.folder,
                env={"PATH": _PATH, "PYTHONPATH": str(ROOT), "LAMPLIGHTER_WORLD": f"{self.spec.mark}/"},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
                limit=_LINE_BYTES)
            self._send({"mark": self.spec.mark, "folder": str(self.spec.folder), "services": services,
                        "environment": self._environment()})
            await self._listen(self._process)
        except (OSError, ValueError) as error:
            log.warning("%s does not boot, tried again: %s", self.spec.instance, error)
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._process, self.phase = None, ENDING
            self._give_up()
            # Should only the supervisor have died, the instance must not boot beside what it left behind.
            await asyncio.to_thread(processes.end, f"{self.spec.mark}/")
            self.phase = OFF

    async def shut_down(self) -> None:
        """Stop the services in good order, then end everything. Returns when nothing runs any more."""
        self.phase = ENDING
        self._down.clear()
        self._send({"do": "down"})
        try:
            await asyncio.wait_for(self._down.wait(), _DOWN_SECONDS)
        except TimeoutError:
            await self.cut()
        process = self._process  # gone by now if it ended by itself
        if process is not None and process.stdin is not None:
            process.stdin.close()  # the word to end

    async def cut(self) -> None:
        """Power off, which kills every process at once."""
        if self.phase != OFF:
            self.phase = ENDING
        await asyncio.to_thread(processes.end_at_once, f"{self.spec.mark}/")

    async def run(self, command: str, order: dict[str, Any]) -> dict[str, Any]:
        """Run a script as `scripts.run` describes. `Gone` when the instance ends before the script does."""
        if self.phase != ON:
            raise Gone(f"{self.spec.instance} does not run")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[command] = answer
        self._send({"do": "run", "id": command, **order})
        return await answer

    def log(self, service: str) -> str:
        """The standard output and error of the service since the launch of the instance."""
        path = self.spec.folder / "log" / f"{service}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def discard(self) -> None:
        """Wipe the disk of an instance that is terminated."""
        shutil.rmtree(self.spec.folder, ignore_errors=True)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout and (line := await process.stdout.readline()):
            self._hear(json.loads(line))
        await process.wait()

    def _hear(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            self.phase = ON
        elif "down" in said:
            self._down.set()
        elif said["id"] in self._answers:
            self._answers.pop(said["id"]).set_result(said)

    def _give_up(self) -> None:
        self._down.set()
        for answer in self._answers.values():
            answer.set_exception(Gone(f"{self.spec.instance} ended"))
        self._answers.clear()

    def _send(self, order: dict[str, Any]) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def _lay_disk(self) -> None:
        shims = self.spec.folder / "shims"
        shims.mkdir(parents=True, exist_ok=True)
        (self.spec.folder / "user-data").write_bytes(base64.b64decode(self.spec.user_data))
        tool = shims / "systemctl"
        tool.write_text(systemctl.shim(self.spec.folder))
        tool.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        folder = self.spec.folder
        return {"INSTANCE_ID": self.spec.instance, "REGION": self.spec.region, "ADDRESS": self.spec.address,
                "USER_DATA": str(folder / "user-data"), "PATH": f"{folder / 'shims'}{os.pathsep}{_PATH}",
                "HOME": str(folder), "LANG": "C.UTF-8", "LAMPLIGHTER_WORLD": f"{self.spec.mark}/"}
