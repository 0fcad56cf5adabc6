"""The content of a Route 53 account, with hosted zones, pending changes, health checks and alarms. No network.

It is not safe for several threads. `service` has the lock.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sandbox.route53.answers import Zone
from sandbox.route53.batches import Key
from sandbox.route53.checks import Check
from sandbox.route53.errors import Refusal
from sandbox.route53.records import Record
from sandbox.route53.verdicts import Alarm

CHECKS_MOST = 200


class Resource(msgspec.Struct, frozen=True):
    """A target of aliases outside, such as a load balancer, with its zone, its addresses and its health."""

    zone_id: str
    addresses: tuple[str, ...]
    healthy: bool = True


class Change(msgspec.Struct, frozen=True):
    """A batch that was taken at `at` and is seen by all name servers from `until`."""

    id: str
    at: float
    until: float


class Hosted:
    """One hosted zone, with its newest record sets, and the data of its name servers."""

    def __init__(self, id: str, name: str, reference: str, comment: str) -> None:
        self.id, self.name, self.reference, self.comment = id, name, reference, comment
        self.records: dict[Key, Record] = {}
        self._versions: list[tuple[float, Zone]] = [(float("-inf"), Zone(()))]

    def publish(self, records: dict[Key, Record], until: float) -> None:
        """These are the record sets. They are answered from `until` on."""
        self.records = records
        self._versions.append((until, Zone(records.values())))

    def served(self, now: float) -> Zone:
        """The data of the name servers at `now`."""
        while len(self._versions) > 1 and self._versions[1][0] <= now:
            del self._versions[0]
        return self._versions[0][1]


class Account:
    """All of it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.zones: dict[str, Hosted] = {}
        self.changes: dict[str, Change] = {}
        self.checks: dict[str, Check] = {}
        # Of health checks that were deleted: their ids, and their references.
        self.buried: set[str] = set()
        self.references: set[str] = set()
        self.alarms: dict[tuple[str, str], Alarm] = {}
        self.resources: dict[str, Resource] = {}
        self.tags: dict[tuple[str, str], dict[str, str]] = {}

    def zone(self, id: str) -> Hosted:
        """The zone with this id, with or without `/hostedzone/`."""
        short = id.rpartition("/")[2]
        if short not in self.zones:
            raise Refusal("NoSuchHostedZone", f"No hosted zone found with ID: {short}")
        return self.zones[short]

    def check(self, id: str) -> Check:
        """The health check with this id."""
        if id not in self.checks:
            raise Refusal("NoSuchHealthCheck", f"No health check exists with the specified ID: {id}")
        return self.checks[id]

    def tagged(self, kind: str, id: str) -> dict[str, str]:
        """The tags of a health check or a hosted zone."""
        if kind == "hostedzone":
            id = self.zone(id).id
        elif kind == "healthcheck":
            self.check(id)
        else:
            raise Refusal("InvalidInput", f"ResourceType {kind!r} is neither healthcheck nor hostedzone")
        return self.tags.setdefault((kind, id), {})

    def remember(self, check: Check) -> dict[str, Any]:
        """Keep `check` and give it in the API's shape."""
        self.checks[check.id] = check
        return described(check)


def described(check: Check) -> dict[str, Any]:
    """A health check in the shape of boto3's `HealthCheck`."""
    return {"Id": check.id, "CallerReference": check.reference, "HealthCheckConfig": check.config,
            "HealthCheckVersion": check.version}
