"""The demo's third scenario, tunnels to a database in another region that die, hang, lose their gateway or get
replaced.

It runs in a thread of its own beside the others. The region's controller is the packaged Lambda, and nobody helps it.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.tunnels.state import TunnelState
from commands.demo import scenario
from commands.demo.faults import FAR, HEALED_SECONDS, Fault, Told, deeds, wrong
from commands.demo.replication_probe import Count, Greetings, Replication, Traffic, longest
from commands.demo.scenario import patient
from commands.demo.tunnel_setup import Stage
from commands.deploy.packaging import Package
from sandbox.hosts.connections import carrier
from sandbox.hosts.tunnels import PORT, TUNNEL, Tunnels, remembered
from sandbox.world import Sandbox

_AWAY_SECONDS, _READY_SECONDS, _KEY_SECONDS = 30.0, 240.0, 240.0
# So long after a fault no healer can have seen it yet: between two minutes its rounds pause for six seconds.
_BLIND_SECONDS = 8.0


class Story(scenario.Story):
    """The tunnels' story."""

    def __init__(self, world: Sandbox, package: Package, stage: Stage) -> None:
        super().__init__(world, package, "the tunnel hosts get their keys")
        self.stage, self.region = stage, stage.region
        self.tunnels = Tunnels(world, stage.far, stage.keyring, package.fleet, package.stage)
        self._traffic: Traffic | None = None
        self._faults: list[Fault] = []
        self._count: Count | None = None
        self._began, self._saw = 0.0, dict[str, None]()

    def told(self) -> Told:
        """The end of it. An error in the scenario itself is raised here."""
        self.join()
        rows, lost = self._count or (None, None)
        found = Told(self.stage.far.region, self.region, self.stage.programs.said(),
                     "replication" if self.stage.replica else "greetings", self._faults, rows, lost, self.failures)
        return msgspec.structs.replace(found, failures=[*self.failures, *wrong(found)])

    def _run(self) -> None:
        for region in self.stage.regions:
            if region != self.region:  # its hosts are idle, and the region may die before they have a key
                threading.Thread(target=self._idle_key, args=(region,), daemon=True).start()
        self._key(self.region)
        self.note = "the tunnels come up, and the healer gets to know them"
        entrance = self.tunnels.endpoint(self.region)
        replica = self.stage.replica
        self._traffic = traffic = Replication(self.stage.far, replica, entrance) if replica else Greetings(entrance)
        try:
            traffic.start()
            self._break(traffic)
        finally:
            traffic.end()

    def _break(self, traffic: Traffic) -> None:
        """One fault after the other, once all is well."""
        if not patient(lambda: self._well(0.0), _READY_SECONDS):
            self.failures.append(f"the tunnels of {self.region} were not ready after {_READY_SECONDS:.0f} s")
        elif all(self._suffer(name, act) for name, act in self._acts()):
            self._count = traffic.count()
            self.note = "all tunnels are well"

    def _idle_key(self, region: str) -> None:
        with suppress(ClientError, RuntimeError):
            self._key(region)

    def _key(self, region: str) -> None:
        """The first key, by the package's own operation."""
        self.tunnels.identify(region)

        def done() -> bool:
            answer = self.invoke("tunnels_rotate_keys", {"apply": True}, region)
            if answer["status"] not in ("later", "done"):
                raise RuntimeError(f"tunnels.rotate_keys in {region}: {answer['status']}: {answer['message']}")
            return bool(answer["status"] == "done")

        if not patient(done, _KEY_SECONDS):
            raise RuntimeError(f"tunnels.rotate_keys in {region} has not ended after {_KEY_SECONDS:.0f} s")

    def _acts(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """The events, one after the other. Each returns the host that must be gone for all to be well."""
        yield "one ssh killed", self._kill
        yield "one ssh hung", self._hang
        yield "both killed", self._kill_both
        yield FAR, self._take_far
        yield "a host destroyed", self._destroy

    def _kill(self) -> str:
        self.world.kill(self._carrier(), TUNNEL)
        return ""

    def _hang(self) -> str:
        self.world.hang(self._carrier(), TUNNEL)
        return ""

    def _kill_both(self) -> str:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: self.world.kill(one, TUNNEL), self.tunnels.hosts(self.region)))
        return ""

    def _take_far(self) -> str:
        """The gateway loses its power, and gets it back."""
        gateway, ec2 = self.stage.far.gateway, self.world.client("ec2", self.stage.far.region)
        self.world.power_off(gateway)
        patient(lambda: self._memory().at > self._began + _AWAY_SECONDS, HEALED_SECONDS)
        ec2.stop_instances(InstanceIds=[gateway])
        patient(lambda: self._state(ec2, gateway) == "stopped", HEALED_SECONDS)
        ec2.start_instances(InstanceIds=[gateway])
        return ""

    def _state(self, ec2: Any, instance: str) -> str:
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    def _destroy(self) -> str:
        self.world.destroy(victim := self._carrier())
        return victim

    def _carrier(self) -> str:
        """The host through which the replica is connected now. Any where nobody stays connected."""
        hosts = {self.tunnels.address(self.region, one): one for one in self.tunnels.hosts(self.region)}
        return hosts[carrier(list(hosts), PORT)]

    def _suffer(self, name: str, act: Callable[[], str]) -> bool:
        """One fault, from its beginning until all is well. Whether it is."""
        self.note, known = f"{name}; nobody helps the healer of {self.region}", {one for one, _ in self._journal()}
        self._began, self._saw = began, saw = time.time(), dict[str, None]()
        gone, done = act(), time.time()
        well = patient(lambda: self._well(done, gone), HEALED_SECONDS)
        ended = time.time()
        nothing = longest(tuple(self._traffic.marks if self._traffic else ()), began, ended)
        self._faults.append(Fault(name, round(nothing, 1), round(ended - began, 1) if well else None, list(saw),
                                  deeds(self._journal(), known, began)))
        return well

    def _well(self, since: float, gone: str = "") -> bool:
        """Whether both tunnels carry, by the balancer and by what the controller has seen well after `since`."""
        memory = self._memory()
        if gone in self.tunnels.hosts(self.region) or memory.at < since + _BLIND_SECONDS:
            return False
        flows = self._traffic is not None and any(mark > since for mark in self._traffic.marks[-1:])
        return flows and self.tunnels.sound(self.region, memory)

    def _memory(self) -> TunnelState:
        """The controller's state. The report keeps the unhealthy observations since the fault began."""
        memory, _ = remembered(self.world, self.region, self.package.stack)
        self._saw.update({f"{slot.streak.side}: {slot.streak.why}": None for slot in memory.members
                          if slot.streak and not slot.streak.up and slot.streak.at > self._began})
        return memory

    def _journal(self) -> list[tuple[str, dict[str, Any]]]:
        """Times and bodies of what the controller's region has done, today and, just after midnight, yesterday."""
        now = time.time()
        days = (f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}" for when in (now - HEALED_SECONDS, now))
        return [entry for day in dict.fromkeys(days) for entry in self._day(day)]

    def _day(self, day: str) -> Iterator[tuple[str, dict[str, Any]]]:
        pages = self._table().get_paginator("query").paginate(
            TableName=self.package.stack, KeyConditionExpression="pk = :pk", ConsistentRead=True,
            ExpressionAttributeValues={":pk": {"S": f"journal#{day}"}})
        return ((f"{day}T{item['sk']['S']}", json.loads(item["body"]["S"])) for page in pages for item in page["Items"])

    def _table(self) -> Any:
        return self.world.client("dynamodb", self.region)
