"""What tests of the engine share: stores and topics that lose the answer of one chosen call."""

from collections.abc import Callable
from typing import Literal

from chalicelib.aws.client import Unavailable
from chalicelib.config import fleet
from chalicelib.context import RegionContext
from testing.fakes import MemoryQueue, MemoryTable, MemoryTopic, Store

When = Literal["before", "after"]
NOW = 1_800_000_000.0


class Loss:
    """Counts external calls, and loses the answer of number `lost` (from 1), before or after it takes effect."""

    def __init__(self, lost: int = 0, when: When = "before") -> None:
        self.lost, self.when, self.calls, self.begun = lost, when, 0, False
        self.names: list[str] = []

    def __call__(self, call: str) -> None:
        self.begun = not self.begun
        if self.begun:
            self.calls += 1
            self.names.append(call)
        if self.calls == self.lost and self.begun == (self.when == "before"):
            self.begun, self.lost = False, 0
            raise Unavailable(f"{call}: no answer")


class Topic:
    """Where people are told; its answer may be lost, too."""

    def __init__(self, loss: Loss) -> None:
        self.loss, self.told = loss, list[tuple[str, str]]()

    def publish(self, subject: str, text: str) -> None:
        self.loss("publish")
        self.told.append((subject, text))
        self.loss("publish")


class World:
    """One store and one topic, whose calls are counted together."""

    def __init__(self, lost: int = 0, when: When = "before") -> None:
        self.loss = Loss(lost, when)
        self.items = Store()
        self.store = MemoryTable(self.items, self.loss)
        self.topic = Topic(self.loss)

    @property
    def subjects(self) -> list[str]:
        """The subjects of all notices that went out."""
        return [subject for subject, _ in self.topic.told]


def number_of_calls(run: Callable[[World], object]) -> int:
    """How many external calls `run` makes when all goes well."""
    world = World()
    run(world)
    return world.loss.calls


FLEET = fleet.parse("""
name = "lamplighter"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}, {name = "ap-southeast-1"}]
coordination.regions = ["eu-west-1", "eu-central-1", "eu-west-3"]
""")
# 2026-03-28 12:00 UTC
NOON = 1_774_699_200.0


class Clock:
    """Epoch seconds that pass only when a test says so."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_context(clock: Clock | None = None) -> RegionContext:
    """A region in memory, with one queue."""
    return RegionContext(
        region="eu-west-1", stage="test", fleet=FLEET, shared_store=MemoryTable(), local_store=MemoryTable(),
        queues={"schedule-runs": MemoryQueue()}, alerts=MemoryTopic(), account="123456789012", clock=clock or Clock())
