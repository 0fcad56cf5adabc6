"""The API of Route 53 as Python calls. `call("GetChange", {...})` takes and gives the same as boto3, or raises
`Refusal`."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sandbox.route53 import operations_checks, operations_zones
from sandbox.route53.answers import Zone
from sandbox.route53.checkers import Checkers
from sandbox.route53.errors import Refusal
from sandbox.route53.names import lies_in
from sandbox.route53.state import Account, Hosted, Resource
from sandbox.route53.throttle import Bucket, Rate
from sandbox.route53.verdicts import Alarm, AlarmState, verdicts


class Fault(msgspec.Struct):
    """A rule that `times` calls of `operation` (`*` is any, -1 times is always) fail with `code`, after `after` more
    have passed."""

    operation: str
    code: str = "ServiceUnavailable"
    times: int = 1
    after: int = 0

    def meets(self, operation: str) -> bool:
        """Whether it is this call that is refused."""
        if self.operation not in ("*", operation) or not self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= self.times > 0
        return True


class Settings(msgspec.Struct, frozen=True):
    """`local` allows probes of loopback addresses. `propagation` are the seconds from a change to its answers. `rate`:
    calls.

    `tool_sees_health` says whether TestDNSAnswer follows health checks, which AWS does not document.
    """

    local: bool = True
    propagation: float = 0.0
    rate: Rate = Rate()
    tool_sees_health: bool = True


DEFAULTS = Settings()


class Serving(msgspec.Struct, frozen=True):
    """The inputs of an answer at one moment, with the hosted zone, the healthy checks, and the targets outside."""

    name: str
    zone: Zone
    healthy: Mapping[str, bool]
    resources: Mapping[str, Resource]


class Service:
    """One account of Route 53. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float], checkers: Checkers, settings: Settings = DEFAULTS) -> None:
        self.account = Account(clock)
        self.checkers = checkers
        self.settings = settings
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()
        # Operations that need more than the account, such as the name servers.
        self.more: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}
        self._bucket = Bucket(settings.rate, clock)
        self._lock = threading.RLock()

    def call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The result of boto3's client for `operation`. `Refusal` if AWS refuses it."""
        with self._lock:
            self.calls[operation] += 1
            for fault in self.faults:
                if fault.meets(operation):
                    raise Refusal(fault.code, "as this twin was told to")
            self._bucket.take()
            if operation in operations_zones.ALL:
                return operations_zones.ALL[operation](self.account, asked, self.settings.propagation)
            if operation in self.more:
                return self.more[operation](asked)
            if operation not in operations_checks.ALL:
                raise Refusal("InvalidAction", f"this twin does not know {operation}")
            found = operations_checks.ALL[operation](self.account, asked, self.settings.local, self.checkers)
            if operation in operations_checks.CHANGING:
                self.checkers.know(self.account.checks.values())
            return found

    def healthy(self) -> dict[str, bool]:
        """Which health check is healthy now, by id. One that was deleted is not, and aliases' targets go by name."""
        with self._lock:
            account = self.account
            outside = {name: resource.healthy for name, resource in account.resources.items()}
            found = verdicts(account.checks.values(), self.checkers.minds(), account.alarms)
            return {**outside, **dict.fromkeys(account.buried, False), **found}

    def serving(self, name: str) -> Serving | None:
        """The name servers' data for `name`, which is the hosted zone with the longest name that holds it."""
        with self._lock:
            holding = [zone for zone in self.account.zones.values() if lies_in(name, zone.name)]
            if not holding:
                return None
            return self.served(max(holding, key=lambda zone: len(zone.name)))

    def served(self, zone: Hosted) -> Serving:
        """The data of the name servers of this hosted zone, whatever other zones there are."""
        with self._lock:
            served = zone.served(self.account.clock())
            return Serving(zone.name, served, self.healthy(), dict(self.account.resources))

    def alarm(self, region: str, name: str, state: AlarmState) -> None:
        """The CloudWatch alarm `name` is in this state now."""
        with self._lock:
            before = self.account.alarms.get((region, name), Alarm())
            self.account.alarms[region, name] = before.now(state)

    def resource(self, name: str, resource: Resource) -> None:
        """Something outside of all zones that an alias may lead to, by its DNS name."""
        with self._lock:
            self.account.resources[operations_zones.plain(name)] = resource
