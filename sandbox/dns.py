"""The twin of Route 53 as the embedded AWS's own, with its API behind the same permissions, its checkers, and its DNS.

The API is global. Its requests have a signature for us-east-1 and fail while that region is stopped, as on 2025-10-20.
Answers and health checks go on.
"""

import asyncio
import re
from typing import Any
from urllib.parse import urlencode

import msgspec

from sandbox.auth_middleware import Commands, public
from sandbox.emulator_patches import Context, change
from sandbox.route53 import probes
from sandbox.route53.answers import Location
from sandbox.route53.checks import Config
from sandbox.route53.errors import Refusal
from sandbox.route53.probes import Result
from sandbox.route53.service import Fault, Settings
from sandbox.route53.state import Resource
from sandbox.route53.throttle import PUBLISHED
from sandbox.route53.twin import Twin
from sandbox.route53.verdicts import AlarmState
from sandbox.route53.wire import Wire, refused

_S3 = re.compile(r"(?P<bucket>[a-z0-9.-]+)\.s3\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")
_LOOPBACK = "127.0.0.1"


class EmbeddedTwin(Twin):
    """The twin with the embedded S3, whose checkers read public objects through the middleware on `port`."""

    def __init__(self, port: int) -> None:
        super().__init__(Settings(rate=PUBLISHED), probe=self._probe)
        self._port = port

    def address(self, name: str) -> str | None:
        """As of any twin. Buckets are at the gate."""
        return _LOOPBACK if _S3.fullmatch(name) else super().address(name)

    def _probe(self, config: Config, address: str) -> Result:
        found = _S3.fullmatch(config.get("FullyQualifiedDomainName", ""))
        if found is None:
            return probes.probe(config, address)
        # The gate speaks plain HTTP; what TLS would add is not what the check is about.
        path = public(found["region"], found["bucket"], config.get("ResourcePath", "/"))
        plain = {"FullyQualifiedDomainName": _LOOPBACK, "Port": self._port, "ResourcePath": path,
                 "Type": str(config["Type"]).replace("HTTPS", "HTTP")}
        return probes.probe({**config, **plain}, address)


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The location of the addresses of `network`."""

    network: str
    continent: str = ""
    country: str = ""
    subdivision: str = ""


class Outside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target of an alias, the name of a load balancer, with its zone and addresses, and its health."""

    name: str
    zone: str
    addresses: tuple[str, ...]
    healthy: bool = True


class AlarmSeen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state of a CloudWatch alarm that a health check follows."""

    region: str
    name: str
    state: AlarmState


def commands(twin: Twin) -> Commands:
    """The control commands of the twin."""

    def place(asked: dict[str, Any]) -> None:
        told = msgspec.convert(asked, Place)
        twin.places.add(told.network, Location(told.continent, told.country, told.subdivision))

    def outside(asked: dict[str, Any]) -> None:
        told = msgspec.convert(asked, Outside)
        twin.service.resource(told.name, Resource(told.zone, told.addresses, told.healthy))

    def alarm(asked: dict[str, Any]) -> None:
        told = msgspec.convert(asked, AlarmSeen)
        twin.service.alarm(told.region, told.name, told.state)

    def fault(asked: dict[str, Any]) -> None:
        twin.service.faults.append(msgspec.convert(asked, Fault))

    return {"dns": lambda asked: twin.dns_port, "healthy": lambda asked: dict(twin.service.healthy()),
            "place": place, "outside": outside, "alarm": alarm, "route53_fault": fault,
            "route53_mend": lambda asked: twin.service.faults.clear()}


@change("services.route53", "handle_request", "method path headers body query_params",
        "Route 53 has health checks that probe, and refuses what AWS refuses")
def handle(original: Any, context: Context) -> Any:
    wire = Wire()

    def answer(method: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        try:
            name, asked = wire.asked(method, path, query, body)
            return wire.answered(name, context.twin.service.call(name, asked))
        except Refusal as refusal:
            return refused(refusal)

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        # In a thread: a batch of a thousand records takes a while, and the server has other callers.
        status, more, answered = await asyncio.to_thread(
            answer, method, path, urlencode(query_params, doseq=True), body)
        return status, {"Content-Type": "text/xml", **more}, answered

    return handle
