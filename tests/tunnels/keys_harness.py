"""A region's keys on fakes of AWS: the gateways that hear of keys late, hosts that come and go, and crashes."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.aws.ssm import Invocation
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from chalicelib.tunnels.keys import state
from chalicelib.tunnels.keys.openssh import Key, published, shared
from chalicelib.tunnels.keys.operation import operation
from chalicelib.tunnels.keys.state import RotationState
from testing.aws import FakeAws, FakeCommand, FakeInstance
from testing.fakes import MemoryTable, MemoryTopic
from tests.tunnels.fleets import FAR, NEAR, PRIMARY, WAYS, parsed

NOON = 1_790_000_000.0
FLEET = parsed(WAYS)[0]
GROUP, SECRET = "f-s-tunnels", "f-s-tunnels-key"
PARAMETER = f"/lamplighter/f-s/tunnels/public-keys/{NEAR}"
# How often a gateway looks, and how long a host takes to try a key.
PULL, TRY = 30.0, 3.0


class Crash(BaseException):
    """The run ends here, as a Lambda that is out of time does."""


class Ring:
    """`aws` is the region's own, `gateways` are those of the regions to which there is a route. `keys` has the key in
    each host's memory, `heard` those that each gateway lets in, and `deaf` the gateways that read no more lists.
    `fault` is called before and after every call."""

    def __init__(self, seed: int = 0, key: bool = True) -> None:
        self.now = NOON
        self.random = random.Random(seed)
        self.fault: Callable[[str], None] = lambda call: None
        self.aws = FakeAws(lambda call: self.fault(call))
        self.gateways = [FakeAws(lambda call: self.fault(call)) for _ in range(2)]
        self.aws.groups[GROUP], self.aws.target_groups[GROUP], self.aws.secrets[SECRET] = [], {}, {}
        self.keys: dict[str, str] = {}
        self.heard: list[dict[str, str]] = [{}, {}]
        self.deaf: set[int] = set()
        self.pulled = 0.0
        self.sent: dict[str, float] = {}
        self.local, self.topic = MemoryTable(), MemoryTopic()
        if key:
            self._begin()
        for _ in range(2):
            self.launch()

    def _begin(self) -> None:
        first = Key(bytes(32), "00000000-0000-0000-0000-000000000000")
        self.aws.secret_values[first.version] = first.private()
        self.aws.secrets[SECRET]["AWSCURRENT"] = first.version
        for gateway in self.gateways:
            gateway.parameters[PARAMETER] = first.line()
        self.pull()
        body = schema.encode(RotationState(version=first.version, done=True), state.SCHEMA)
        self.local.create(*state.KEY, body)

    def launch(self) -> str:
        """One more host, which begins with the current key."""
        id = f"i-{len(self.keys):04}{self.random.randrange(10**6):06}"
        self.keys[id] = self.current
        self.aws.instances[id] = FakeInstance(id)
        self.aws.groups[GROUP].append(id)
        self.ill(id, not self.current)
        return id

    def remove(self, id: str) -> None:
        """A host is gone."""
        del self.keys[id], self.aws.instances[id], self.aws.target_groups[GROUP][id]
        self.aws.groups[GROUP].remove(id)

    def ill(self, id: str, ill: bool) -> None:
        """What the balancer says of a host."""
        self.aws.target_groups[GROUP][id] = "unhealthy" if ill else "healthy"

    def pull(self) -> None:
        """The gateways look."""
        self.pulled = self.now
        for number in {0, 1} - self.deaf:
            self.heard[number] = self.told(number) or self.heard[number]

    def wait(self, seconds: float) -> None:
        """Time passes; the gateways look when it is time, and hosts do what they were asked for."""
        self.now += seconds
        if self.now - self.pulled >= PULL:
            self.pull()

    @property
    def context(self) -> RegionContext:
        """Where the operation runs."""
        ports = {NEAR: self.aws.ports, PRIMARY: self.gateways[0].ports, FAR: self.gateways[1].ports}
        return RegionContext(NEAR, "s", FLEET, MemoryTable(), self.local, {}, self.topic, clock=lambda: self.now,
                             aws_regions=ports)

    def run(self, event: object = None, context: RegionContext | None = None) -> dict[str, Any]:
        """One run, by hand and for real unless `event` says otherwise."""
        self._settle()
        made = operation(self.random.randbytes)
        return engine.run(made, context or self.context, {"apply": True} if event is None else event, "r")

    @property
    def state(self) -> RotationState:
        """As it is in the store."""
        item = self.local.get(*state.KEY)
        if item is None:
            return RotationState()
        found = schema.decode(item.body, state.SCHEMA, schema.ItemKey("", *state.KEY))
        assert isinstance(found, schema.Stored)
        return found.value

    @property
    def current(self) -> str:
        """The version that hosts are launched with."""
        return self.aws.secrets[SECRET].get("AWSCURRENT", "")

    @property
    def pending(self) -> str:
        """The version that is to come."""
        found = self.aws.secrets[SECRET].get("AWSPENDING", "")
        return "" if found == self.current else found

    def told(self, gateway: int) -> dict[str, str]:
        """What one gateway is told."""
        return published(self.gateways[gateway].parameters.get(PARAMETER, ""))

    @property
    def everywhere(self) -> dict[str, str]:
        """What both gateways are told."""
        return shared([self.told(0), self.told(1)])[0]

    def _settle(self) -> None:
        """What hosts do meanwhile: try the key that is to come, and keep it if the gateway lets it in."""
        for id, command in self.aws.commands.items():
            began = self.sent.setdefault(id, self.now)
            if command.invocation.status != "InProgress" or self.now - began < TRY or command.instance not in self.keys:
                continue
            command.invocation = self._answer(command)


    def _answer(self, command: FakeCommand) -> Invocation:
        """What a host says of a key to come, or of the former one: each gateway in turn."""
        reload = command.parameters["Action"] == "reload-keys"
        wanted = (self.pending or self.current) if reload else self.aws.secrets[SECRET]["AWSPREVIOUS"]
        for number in range(2):
            if (wanted in self.heard[number]) != reload:
                said = "does not let this key in" if reload else "still lets the former key in"
                return Invocation("Failed", "Failed", "", f"gateway {number} {said}")
        if reload:
            self.keys[command.instance] = wanted
            self.ill(command.instance, False)
        return Invocation("Success", "Success", f"gateway={PRIMARY}\ngateway={FAR}\nversion={wanted}\n")


def stored(ring: Ring) -> list[str]:
    """All that is written anywhere but in the secret."""
    bodies = [msgspec.json.encode(item.body).decode() for item, _, _ in ring.local.store.items.values()]
    return bodies + [text for gateway in ring.gateways for text in gateway.parameters.values()]
