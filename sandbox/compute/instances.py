"""Makes the processes follow the records of EC2. It boots, shuts down and removes instances."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sandbox import processes
from sandbox.compute.machine import BOOTING, OFF, ON, Machine, Spec
from sandbox.compute.session import Run

# The codes of InstanceState in the EC2 API.
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
Record = dict[str, Any]


class Instances:
    """Every instance of the sandbox, and the images that say what runs in them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.images: dict[str, dict[str, str]] = {}
        self.machines: dict[str, Machine] = {}
        self.dark: set[str] = set()  # powered off by a fault; EC2 does not know

    def admit(self, record: Record) -> None:
        """Give a record that was just made an address of its own. It is pending from now on."""
        address = self._run.addresses.take()
        dashed = address.replace(".", "-")
        record.update(
            State=state("pending"), PrivateIpAddress=address, PublicIpAddress=address,
            PrivateDnsName=f"ip-{dashed}.ec2.internal", PublicDnsName=f"ec2-{dashed}.compute-1.amazonaws.com")
        self._run.wake()

    def look(self) -> None:
        """Compare every record with what runs, and take the next step where they differ."""
        from ministack.services import ec2

        for (_, region, instance), record in ec2._instances.all_items():
            if record["State"]["Name"] not in ("stopped", "terminated"):
                self._step(region, instance, record)

    def find(self, instance: str) -> tuple[str, Record]:
        """Region and record of an instance. Raises `ValueError` when there is none."""
        from ministack.services import ec2

        for (_, region, one), record in ec2._instances.all_items():
            if one == instance:
                return region, record
        raise ValueError(f"there is no instance {instance!r}")

    def state(self, instance: str) -> str:
        """`running`, `stopped` and so on. `terminated` for one that there is not any more."""
        try:
            return str(self.find(instance)[1]["State"]["Name"])
        except ValueError:
            return "terminated"

    def address(self, instance: str) -> str:
        """The address of a running instance. Empty for any other."""
        return str(self.find(instance)[1]["PrivateIpAddress"]) if self.state(instance) == "running" else ""

    def managed(self, instance: str) -> bool:
        """Whether commands reach it, because it runs and its image is known."""
        machine = self.machines.get(instance)
        return machine is not None and machine.phase == ON

    def reboot(self, instance: str) -> None:
        """Shut down and boot again, also in the middle of booting. Its state stays as it is."""
        machine = self.machines.get(instance)
        if machine is not None and machine.phase in (ON, BOOTING):
            self._run.spawn(machine.shut_down)

    def impaired(self, instance: str) -> bool:
        """Whether its status checks fail."""
        return instance in self.dark

    def _step(self, region: str, instance: str, record: Record) -> None:
        name, machine = record["State"]["Name"], self.machines.get(instance)
        if machine is None:
            machine = self._made(region, instance, record)
        if name in ("pending", "running"):
            self._raise(region, machine, record)
        elif machine is None or machine.phase == OFF:
            self._settle(instance, record, "stopped" if name == "stopping" else "terminated")
        elif machine.phase in (ON, BOOTING):
            self._lower(machine, force=record.pop("_force", False))

    def _made(self, region: str, instance: str, record: Record) -> Machine | None:
        if record["ImageId"] not in self.images:
            return None
        mark = f"{self._run.mark}/{region}/{instance}"
        folder = self._run.folder / "instances" / instance
        spec = Spec(instance, region, record["PrivateIpAddress"], mark, folder, record.get("UserData") or "")
        self.machines[instance] = Machine(spec)
        return self.machines[instance]

    def _raise(self, region: str, machine: Machine | None, record: Record) -> None:
        if self._run.down(region):
            if machine is not None and machine.phase == ON:  # it was booting when the region died
                self._run.spawn(machine.cut)
        elif machine is not None and machine.phase == OFF:
            self._boot(machine, self.images[record["ImageId"]])
        elif record["State"]["Name"] == "pending" and (machine is None or machine.phase == ON):
            record["State"] = state("running")

    def _boot(self, machine: Machine, services: dict[str, str]) -> None:
        if machine.spec.instance not in self.dark:
            machine.phase = BOOTING
            self._run.spawn(lambda: machine.boot(services))

    def _lower(self, machine: Machine, *, force: bool) -> None:
        if machine.phase == ON and not force:
            self._run.spawn(machine.shut_down)
        elif force or machine.phase == BOOTING:
            self._run.spawn(machine.cut)

    def _settle(self, instance: str, record: Record, name: str) -> None:
        record["State"] = state(name)
        self.dark.discard(instance)
        if name == "terminated":
            record["_terminated_at"] = time.time()
            if machine := self.machines.pop(instance, None):
                machine.discard()

    async def kill(self, instance: str, service: str) -> None:
        """Kill all processes of a service. `ValueError` when instance or service are not known, or do not run."""
        self._signalled(await self._signal(instance, service, processes.end), instance, service)

    async def hang(self, instance: str, service: str) -> None:
        """Stop all processes of a service where they are, as a hung machine would."""
        self._signalled(await self._signal(instance, service, processes.freeze), instance, service)

    async def thaw(self, instance: str, service: str) -> None:
        """Let a hung service go on."""
        self._signalled(await self._signal(instance, service, processes.thaw), instance, service)

    async def power_off(self, instance: str, *, destroy: bool) -> None:
        """Kill every process of an instance at once. EC2 sees failing status checks, or, with `destroy`, its end."""
        _, record = self.find(instance)
        if record["State"]["Name"] != "running":
            raise ValueError(f"{instance} is {record['State']['Name']}, and only a running one can lose its power")
        self.dark.add(instance)
        if instance in self.machines:
            await self.machines[instance].cut()
        if destroy:
            record["State"] = state("shutting-down")
            record["_force"] = True
        self._run.wake()

    def log(self, instance: str, service: str) -> str:
        """The output of the service. Empty when it never ran."""
        self.find(instance)
        return self.machines[instance].log(service) if instance in self.machines else ""

    async def _signal(self, instance: str, service: str, act: Callable[[str], int]) -> int:
        self.find(instance)
        if not self.managed(instance):
            return 0
        return await asyncio.to_thread(act, f"{self.machines[instance].spec.mark}/{service}/")

    def _signalled(self, found: int, instance: str, service: str) -> None:
        if not found:
            raise ValueError(f"{instance} runs no service {service!r}")


def state(name: str) -> dict[str, Any]:
    """`InstanceState` as the EC2 API has it."""
    return {"Code": STATES[name], "Name": name}
