"""The reconciler. It reads the wanted state from the emulator's records, again and again, and makes the processes
follow."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from sandbox import processes
from sandbox.auth_middleware import Commands
from sandbox.compute.balancers import Balancers
from sandbox.compute.commands import Sender
from sandbox.compute.document_store import DocumentStore
from sandbox.compute.groups import Groups
from sandbox.compute.instances import Instances
from sandbox.compute.session import Run
from sandbox.faults import Faults
from testing.addresses import available

_LOOK_SECONDS = 0.1


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The services of instances of image `image`, as service name -> command line for /bin/sh."""

    image: str
    services: dict[str, str]


class Hypervisor:
    """All instances, balancers and groups of one sandbox."""

    def __init__(self, mark: str, folder: Path, faults: Faults) -> None:
        self.run = Run(mark, folder, faults)
        self.instances = Instances(self.run)
        self.balancers = Balancers(self.run, self.instances)
        self.groups = Groups(self.run, self.instances, self.balancers)
        self.shelf = DocumentStore()
        self.sender = Sender(self.run, self.instances, self.shelf)

    async def serve(self) -> None:
        """Look until cancelled. Without free addresses, nothing runs."""
        while not available():
            await self.run.rest(3600)
        while True:
            self.instances.look()
            self.groups.look()
            self.balancers.look()
            await self.run.rest(_LOOK_SECONDS)

    def stop_region(self, region: str) -> None:
        """Kill all that runs in `region`. It stays dead while the faults say so."""
        self.run.ending.add(region)
        self.run.spawn(lambda: self._end_region(region))

    async def _end_region(self, region: str) -> None:
        # In a thread: waiting for processes to end would hold up every other region.
        try:
            await asyncio.to_thread(processes.end, f"{self.run.mark}/{region}", adopted=True)
        finally:
            self.run.ending.discard(region)

    def commands(self) -> Commands:
        """The part of it in the control API."""
        machines = self.instances
        return {
            "image": lambda asked: self._image(msgspec.convert(asked, Image)),
            "pace": lambda asked: self._pace(float(asked["factor"])),
            "addresses": lambda asked: self.balancers.addresses() if available() else {},
            "log": lambda asked: machines.log(asked["instance"], asked["service"]),
            "kill": lambda asked: machines.kill(asked["instance"], asked["service"]),
            "hang": lambda asked: machines.hang(asked["instance"], asked["service"]),
            "thaw": lambda asked: machines.thaw(asked["instance"], asked["service"]),
            "power-off": lambda asked: machines.power_off(asked["instance"], destroy=bool(asked["destroy"])),
        }

    def _image(self, image: Image) -> None:
        if not available():
            raise ValueError("instances need Linux, since only Linux has all of 127.0.0.0/8")
        for name in image.services:
            if not name or set(name) & set("/ ") or name == "-":
                raise ValueError(f"{name!r} is no name of a service, which has no slash and no space")
        self.instances.images[image.image] = dict(image.services)

    def _pace(self, factor: float) -> Any:
        if not 0 < factor <= 1000:
            raise ValueError(f"a pace of {factor} is not above 0 and at most 1000")
        self.run.pace = factor
        self.run.wake()
