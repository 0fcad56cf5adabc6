"""A target group at work, with its targets' health, the next target, and each target's connections."""

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import Callable

import msgspec

from sandbox.compute import elb_probes
from sandbox.compute.health import HEALTHY, UNHEALTHY, Health, judge
from sandbox.compute.settings import Group, Target

# SO_LINGER with no time: closing sends a reset, as Network Load Balancers do.
_RESET = struct.pack("ii", 1, 0)


class Connection:
    """A client's connection and the one to its target. `cut` resets both."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def cut(self) -> None:
        """Reset both sides."""
        for writer in self._writers:
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset."""
    if not writer.transport.is_closing():
        plug = writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class Pool:
    """The targets of one group. `changed` is called when a target's health does."""

    def __init__(self, group: Group, changed: Callable[[], None]) -> None:
        self.group = group
        self.health: dict[str, Health] = {}
        self._changed = changed
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._connections: defaultdict[str, set[Connection]] = defaultdict(set)
        self._turn = 0

    def set(self, group: Group) -> None:
        """Take new settings. Probe the new targets, forget the removed ones."""
        before, self.group = self.group, group
        if msgspec.structs.replace(before, targets={}) != msgspec.structs.replace(group, targets={}):
            for key in list(self._probing):
                self._start(key)  # by the new settings at once, not after a wait of the old ones
        for key, target in group.targets.items():
            if target.state == "in" and (key not in self._probing or before.targets.get(key) != target):
                self._begin(key)
            elif target.state == "unused":
                self._forget(key)
        for key in [key for key in self.health.keys() | self._probing.keys() if key not in group.targets]:
            self._forget(key)
        for key in [key for key in self._connections if key not in group.targets]:
            self._leave(key)
        self._settle()

    def close(self) -> None:
        """Stop probing."""
        for key in list(self._probing):
            self._forget(key)

    def choose(self) -> tuple[str, Target] | None:
        """The target of the next connection. The healthy take turns, or all if none is healthy. None if there is none.
        """
        ready = [(key, target) for key, target in self.group.targets.items() if target.state == "in"]
        healthy = [(key, target) for key, target in ready if self._is(key, HEALTHY)]
        turn = healthy or ready
        self._turn += 1
        return turn[self._turn % len(turn)] if turn else None

    def join(self, key: str, connection: Connection) -> None:
        """A connection of target `key` begins."""
        self._connections[key].add(connection)

    def part(self, key: str, connection: Connection) -> None:
        """It is over."""
        self._connections[key].discard(connection)

    def _begin(self, key: str) -> None:
        self._forget(key)
        self.health[key] = Health()
        self._start(key)
        self._changed()

    def _start(self, key: str) -> None:
        if task := self._probing.pop(key, None):
            task.cancel()
        self._probing[key] = asyncio.get_running_loop().create_task(self._probe(key))

    def _forget(self, key: str) -> None:
        self.health.pop(key, None)
        if task := self._probing.pop(key, None):
            task.cancel()

    def _leave(self, key: str) -> None:
        for connection in self._connections.pop(key) if self.group.cut_deregistered else ():
            connection.cut()

    async def _probe(self, key: str) -> None:
        clock = asyncio.get_running_loop()
        while True:
            began = clock.time()
            verdict = await elb_probes.probe(self.group, self.group.targets[key])
            before = self.health[key]
            self.health[key] = after = judge(before, verdict, self.group.rise, self.group.fall)
            if (before.state, before.reason, before.text) != (after.state, after.reason, after.text):
                self._changed()
                self._settle()
            await asyncio.sleep(began + self.group.interval - clock.time())

    def _settle(self) -> None:
        # "If a target becomes unhealthy, the load balancer sends a TCP RST for packets received on the client
        # connections associated with the target, unless the unhealthy target triggers the load balancer to fail open."
        if self.group.cut_unhealthy and any(self._is(key, HEALTHY) for key in self.group.targets):
            for key in [key for key in self._connections if self._is(key, UNHEALTHY)]:
                for connection in self._connections.pop(key):
                    connection.cut()

    def _is(self, key: str, state: str) -> bool:
        return self.health.get(key, Health()).state == state
