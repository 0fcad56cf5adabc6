"""The two controllers of `bench tunnels --only faults`, and the peer in the primary's region, as processes of their
own.

No lease keeps the controllers apart. Each carries out the round itself, at its own times within the same seconds. Only
compare-and-set, claims and fences keep them from harm. The clock is the real one.
"""

import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from typing import Any

import msgspec

from chalicelib.aws.ports import real_ports
from chalicelib.aws.store import DynamoStore
from chalicelib.config.databases import Server
from chalicelib.config.declared import Fleet
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.engine.operation import Operation, RunFailed
from chalicelib.tunnels import peer_report
from chalicelib.tunnels.controller import Controller
from chalicelib.tunnels.probe.network import SocketNetwork
from sandbox.world import Sandbox
from testing.fakes import MemoryTopic

# What a healer counts: rounds; those that the other's came before; acts of others that it left, for the other's next
# round was faster than they; rounds that failed.
ROUNDS, SECOND, LEFT, FAILED = range(4)
_END_SECONDS = 10.0


class Place(msgspec.Struct, frozen=True):
    """The controllers' environment. `table` is in `region`, `coordination` in the primary's, and `database` is the
    primary's."""

    fleet: Fleet
    stage: str
    region: str
    primary: str
    table: str
    coordination: str
    database: str

    def site(self, region: str) -> RegionContext:
        """As `site.here` would build it, but without alerts to people."""
        aws = {known.name: real_ports(known.name) for known in self.fleet.regions}
        return RegionContext(region, self.stage, self.fleet, DynamoStore(self.coordination, self.primary),
                             DynamoStore(self.table, region), {}, MemoryTopic(), aws_regions=aws)


def furnish(world: Sandbox, place: Place) -> None:
    """The two tables that the place names."""
    for name, region in ((place.table, place.region), (place.coordination, place.primary)):
        world.client("dynamodb", region).create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")])


@contextmanager
def at_work(place: Place, seed: str, environment: Mapping[str, str]) -> Iterator[Callable[[], list[int]]]:
    """Two controllers and a peer report, until the block ends. The results give the controllers' counts so far."""
    context = multiprocessing.get_context("spawn")
    counts = context.Array("l", 4)
    # A healer that is spawned finds AWS where its environment says.
    with _environment(environment):
        made: list[BaseProcess] = [context.Process(target=_heal, args=(place, f"{seed}/{one}", counts), daemon=True)
                                   for one in range(2)]
        made.append(context.Process(target=_watch, args=(place,), daemon=True))
        try:
            for process in made:
                process.start()
            yield lambda: counts[:]
        finally:
            _ended([process for process in made if process.pid])


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ended(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _heal(place: Place, seed: str, counts: Any) -> None:
    _quiet()
    chance, holder = random.Random(seed), uuid.uuid4().hex  # noqa: S311 - moments, not secrets
    controller = Controller(place.site(place.region), SocketNetwork())
    every = float(place.fleet.tunnels.every) if place.fleet.tunnels else 2.0
    for number in _rounds(every, lambda: chance.uniform(0, every / 2)):
        found = _round(controller.operation, controller.context, f"{holder}/{number}")
        results = found.get("results", ())
        with counts.get_lock():
            counts[ROUNDS] += 1
            counts[FAILED] += not found
            counts[SECOND] += (second := found.get("status") == "superseded")
            counts[LEFT] += 0 if second else sum(": left: " in line for line in results)


def _watch(place: Place) -> None:
    _quiet()
    here, server = place.site(place.primary), Server(place.primary, place.database)
    operation = peer_report.operation(SocketNetwork(), server, "")
    for number in _rounds(peer_report.EVERY_SECONDS, lambda: 0.0):
        _round(operation, here, str(number))


def _quiet() -> None:
    """No log, and no Ctrl-C, which belongs to the process that began this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _rounds(every: float, late: Callable[[], float]) -> Iterator[int]:
    """A number at each multiple of `every` seconds, `late` by so much, as long as who began this process lives."""
    parent = multiprocessing.parent_process()
    while parent and parent.is_alive():
        number = int(time.time() // every) + 1
        time.sleep(max(0.0, number * every + late() - time.time()))
        yield number


def _round(operation: Operation[Any], here: RegionContext, id: str) -> dict[str, Any]:
    """The result of one round, as `Controller` begins it. A failed one gives nothing, because the next takes over."""
    event = {"detail-type": "Round", "time": datetime.fromtimestamp(here.clock(), UTC).isoformat()}
    with suppress(RunFailed):
        return engine.run(operation, here, event, id)
    return {}
