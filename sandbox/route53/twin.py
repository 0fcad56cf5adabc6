"""All of the twin together, with checkers that probe, the API on the wire, and DNS, on the loopback address.

with Twin(places={"203.0.113.0/24": Location("EU", "SE")}) as twin:
    client = boto3.client("route53", endpoint_url=twin.endpoint, ...)      # its API
    twin.dns_port                                                          # dig @127.0.0.1 -p PORT +subnet=...
    twin.service.resource("lb-eu.elb.amazonaws.com", Resource("Z32O12XQLNTSW2", ("127.0.1.1",)))
    twin.service.alarm("eu-west-1", "too-slow", "ALARM")
    twin.service.faults.append(Fault("ChangeResourceRecordSets", "Throttling", times=3))
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from sandbox.route53.answers import Location, Query
from sandbox.route53.api import Api
from sandbox.route53.checkers import Checkers, Probe
from sandbox.route53.dns_server import DnsServer
from sandbox.route53.operations_answers import test_answer
from sandbox.route53.operations_zones import plain
from sandbox.route53.places import NOWHERE, Places
from sandbox.route53.probes import probe
from sandbox.route53.resolver import Latency, Resolver
from sandbox.route53.service import DEFAULTS, Service, Settings
from sandbox.route53.verdicts import AfterMove


class Twin:
    """A twin for the length of a `with` block, with `endpoint` for boto3, `dns_port` for resolvers, and `service` for
    the rest.

    `clock` gives seconds since the epoch. With `checking` false, checkers probe only on `checkers.step()`.
    """

    def __init__(self, settings: Settings = DEFAULTS, *, clock: Callable[[], float] = time.time, probe: Probe = probe,
                 after_move: AfterMove = "carry", places: Mapping[str, Location] | None = None,
                 draw: Callable[[], float] = random.random, latency: Latency = lambda place: {},
                 checking: bool = True) -> None:
        self.checkers = Checkers(clock, self.address, probe, after_move)
        self.service = Service(clock, self.checkers, settings)
        self.places = Places(places or {})
        self.resolver = Resolver(self.service, self.places, draw, latency)
        self.service.more["TestDNSAnswer"] = partial(test_answer, self.service, self.resolver)
        self.endpoint, self.dns_port = "", 0
        self._checking = checking
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.checkers.end)
            api = Api(self.service)
            stack.callback(api.end)
            server = DnsServer(self.resolver)
            stack.callback(server.end)
            api.start()
            server.start()
            if self._checking:
                self.checkers.start()
            self.endpoint, self.dns_port = api.endpoint, server.port
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def address(self, name: str) -> str | None:
        """The IPv4 address of an endpoint that a health check names, in a zone here, or outside."""
        outside = self.service.account.resources.get(plain(name))
        serving = self.service.serving(name)
        if outside is None and serving is not None:
            found = serving.zone.answer(name, "A", Query(NOWHERE, serving.healthy))
            outside = serving.resources.get(plain(found.outside)) if found.outside else None
            if outside is None and found.type == "A" and found.values:
                return found.values[0]
        return next((address for address in outside.addresses if "." in address), None) if outside else None
