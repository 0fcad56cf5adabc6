"""The regions of a fleet on this machine: entrances that are sockets, Route 53 and S3 in memory."""

import json
import socketserver
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalicelib.aws.client import Unavailable
from chalicelib.aws.route53 import ProbeReport
from chalicelib.config import fleet as fleets
from chalicelib.context import RegionContext
from chalicelib.engine import run as engine
from chalicelib.routing import operations
from testing.aws import FakeAws
from testing.fakes import MemoryTable, MemoryTopic
from testing.route53 import FakeRoute53
from testing.servers.process import free_port, loopback
from tests.routing.fleets import EIGHT, text

THREE = EIGHT[:3]


class World:
    """A fleet's regions as sockets on this machine, with Route 53 and S3 in memory."""

    def __init__(self) -> None:
        self.now = 1_774_699_200.0
        self.topic = MemoryTopic()
        self.route53 = FakeRoute53(probe=lambda check: [ProbeReport(passed=True)] * self.reports)
        self.reports = 16
        self.route53.zones["ZONE"] = []
        self.aws = {region: FakeAws(route53=self.route53) for region in THREE}
        self.s3 = {region: aws.s3 for region, aws in self.aws.items()}
        self.servers: dict[str, Server] = {}
        self.addresses = [loopback() for _ in THREE]
        self.port = free_port(self.addresses[0])
        for region in THREE:
            self.mend(region)
        self.shared = MemoryTable()
        self.tables = {region: MemoryTable() for region in THREE}
        # Between an operation and its ports.
        self.wrap: Callable[[RegionContext], RegionContext] = lambda site: site

    def with_buckets(self) -> "World":
        """The buckets for flags are there, without a policy yet."""
        for region, s3 in self.s3.items():
            s3.buckets[f"marks-{region}"] = None
        return self

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records of the hosted zone."""
        return self.route53.zones["ZONE"]

    @records.setter
    def records(self, records: list[dict[str, Any]]) -> None:
        self.route53.zones["ZONE"] = records

    def site(self, region: str = THREE[0], more: str = "") -> RegionContext:
        """Where an operation runs."""
        written = text(THREE, f'check = "tcp"\nport = {self.port}\nhold_down = "5m"\n{more}', addresses=True)
        for number in range(3):
            written = written.replace(f"192.0.2.{number + 1}", self.addresses[number])
        return RegionContext(region=region, stage="test", fleet=fleets.parse(written), shared_store=self.shared,
                    local_store=self.tables[region], queues={}, alerts=self.topic, root=Path(), clock=lambda: self.now,
                    aws_regions={name: aws.ports for name, aws in self.aws.items()})

    def ask(self, operation: Any, at: str = THREE[0], more: str = "", **event: Any) -> dict[str, Any]:
        """The outcome by hand."""
        return engine.run(operation, self.wrap(self.site(at, more)), event)

    def apply(self, more: str = "", **event: Any) -> list[str]:
        """Applies until there is nothing left to do; the outcomes on the way."""
        said = []
        for _ in range(10):
            outcome = self.ask(operations.APPLY, more=more, apply=True, **event)
            said.append(outcome["status"])
            if outcome.get("message") == "nothing to do":
                return said
        raise AssertionError(f"it never ends: {said}")

    def minute(self, *, after: float = 60, late: float = 0) -> None:
        """One run of every region's hold, so many seconds after the last one, for an event that is so late."""
        self.now += after
        for region in THREE:
            self.fire(operations.HOLD, region, late)

    def fire(self, operation: Any, at: str = THREE[0], late: float = 0) -> None:
        """The rule of `operation` has fired so many seconds ago."""
        # Exactly as the rule of EventBridge sends it.
        event = {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(self.now - late, UTC).isoformat()}
        engine.run(operation, self.wrap(self.site(at)), event)

    def kill(self, region: str) -> None:
        """The region's entrance no longer answers."""
        self.servers[region].shutdown()
        self.servers[region].server_close()

    def mend(self, region: str) -> None:
        """It answers, or answers again: all at one port."""
        self.servers[region] = _listen(self.addresses[THREE.index(region)], self.port)

    def silence(self, region: str) -> None:
        """The region's S3 gives no answer any more."""

        def fault(call: str) -> None:
            raise Unavailable(f"{region} does not answer")

        self.s3[region].fault = fault

    def marks(self) -> dict[str, str]:
        """Which regions are marked, and by whom."""
        return {key.removeprefix("evacuated/"): json.loads(body)["by"]
                for s3 in self.s3.values() for (_, key), body in s3.objects.items()}

    def kinds(self) -> list[str]:
        """The alerts that people have got, by kind."""
        return [subject.removeprefix("Recovered: ").partition(":")[0] + (" ended" if "Recovered" in subject else "")
                for subject, _ in self.topic.told]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _listen(host: str, port: int) -> Server:
    server = Server((host, port), socketserver.BaseRequestHandler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server
