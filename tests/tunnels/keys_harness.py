"""A region's keys in memory: the secret, the far side that hears of keys late, hosts that come and go, and crashes."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.tunnels.keys import decide
from chalicelib.tunnels.keys.aws import Keys
from chalicelib.tunnels.keys.decide import CommandStatus, Host, RotationState
from chalicelib.tunnels.keys.openssh import Key, published, shared
from chalicelib.tunnels.keys.operation import operation
from testing.fakes import MemoryTable, MemoryTopic
from tests.tunnels.fleets import NEAR, parsed

NOON = 1_790_000_000.0
FLEET = parsed()[0]
# How often the gateway looks, and how long a host takes to try a key.
PULL, TRY = 30.0, 3.0


class Crash(BaseException):
    """The run ends here, as a Lambda that is out of time does."""


class Machine(msgspec.Struct):
    """A host: the key in its memory, its health, and whether it is in service."""

    key: str
    healthy: bool = True
    in_service: bool = True


class Ring(Keys):
    """`Keys` over values; `fault` is called before and after everything that changes something."""

    def __init__(self, seed: int = 0, key: bool = True) -> None:
        self.now = NOON
        self.random = random.Random(seed)
        self.private: dict[str, str] = {}
        self.current = self.pending = ""
        self.parameters = ["", ""]
        self.heard: dict[str, str] = {}
        self.pulled = 0.0
        self.machines: dict[str, Machine] = {}
        self.commands: dict[str, tuple[str, float]] = {}
        self.outcomes: dict[str, CommandStatus] = {}
        self.fault: Callable[[str], None] = lambda call: None
        self.regional, self.topic = MemoryTable(), MemoryTopic()
        if key:
            self._begin()
        for _ in range(2):
            self.launch()

    def _begin(self) -> None:
        first = Key(bytes(32), "00000000-0000-0000-0000-000000000000")
        self.private[first.version] = first.private()
        self.current, self.parameters = first.version, [first.line()] * 2
        self.pull()
        body = msgspec.to_builtins(RotationState(version=first.version, done=True))
        self.regional.create(*decide.KEY, body)

    def launch(self) -> str:
        """One more host, which begins with the current key."""
        id = f"i-{len(self.machines):04}{self.random.randrange(10**6):06}"
        self.machines[id] = Machine(self.current, healthy=bool(self.current))
        return id

    def pull(self) -> None:
        """The gateway looks."""
        self.heard, self.pulled = published(self.parameters[0]) or self.heard, self.now

    def wait(self, seconds: float) -> None:
        """Time passes; the gateway looks when it is time."""
        self.now += seconds
        if self.now - self.pulled >= PULL:
            self.pull()

    @property
    def site(self) -> RegionContext:
        """Where the operation runs."""
        return RegionContext(NEAR, "s", FLEET, MemoryTable(), self.regional, {}, self.topic, clock=lambda: self.now)

    def run(self, event: object = None) -> dict[str, Any]:
        """One run, by hand and for real unless `event` says otherwise."""
        made = operation(lambda site: self, self.random.randbytes)
        return engine.run(made, self.site, {"apply": True} if event is None else event, "r")

    @property
    def memory(self) -> RotationState:
        """As it is in the table."""
        item = self.regional.get(*decide.KEY)
        return msgspec.convert(item.body, RotationState) if item else RotationState()

    @property
    def everywhere(self) -> dict[str, str]:
        """What both gateways are told."""
        return shared(self.published())[0]

    # What the operation asks.

    def versions(self) -> tuple[str, str]:
        return self.current, self.pending

    def published(self) -> list[dict[str, str]]:
        return [published(told) for told in self.parameters]

    def hosts(self) -> tuple[Host, ...]:
        return tuple(Host(id, one.in_service, one.healthy) for id, one in self.machines.items())

    def reply(self, command: str, instance: str) -> CommandStatus:
        self._settle()
        return self.outcomes.get(command, CommandStatus("running"))

    # What it does.

    def publish(self, lines: list[str]) -> None:
        for number in range(2):
            self.fault("publish")
            self.parameters[number] = "\n".join(lines)
            self.fault("publish")

    def store(self, key: Key) -> None:
        self.fault("store")
        self.private[key.version] = key.private()
        # "If this operation creates the first version, Secrets Manager attaches AWSCURRENT": PutSecretValue.
        self.current, self.pending = (self.current, key.version) if self.current else (key.version, "")
        self.fault("store")

    def discard(self, version: str) -> None:
        self.fault("discard")
        self.pending = "" if self.pending == version else self.pending
        self.fault("discard")

    def promote(self, version: str, old: str) -> None:
        self.fault("promote")
        self.current = version
        self.fault("promote")
        self.pending = ""
        self.fault("promote")

    def reload(self, instance: str) -> str:
        self.fault("reload")
        command = f"c-{len(self.commands)}"
        self.commands[command] = instance, self.now
        self.fault("reload")
        return command

    def _settle(self) -> None:
        """What hosts do meanwhile: try the key that is to come, and keep it if the gateway lets it in."""
        for command, (instance, at) in self.commands.items():
            if command in self.outcomes or self.now - at < TRY or instance not in self.machines:
                continue
            wanted = self.pending or self.current
            if wanted in self.heard:
                self.machines[instance].key = wanted
                self.machines[instance].healthy = True
                self.outcomes[command] = CommandStatus("done", wanted)
            else:
                self.outcomes[command] = CommandStatus("failed", said="the gateway does not let this key in")
