"""Route 53: health checks and the records of hosted zones. Nothing that keeps users served in a failure comes this way.

Facts are from the Route 53 API reference (2013-04-01) as boto3 carries it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from chalicelib.aws import client
from chalicelib.aws.client import Clients

# Route 53 takes five requests a second from an account, whatever the region.
REQUESTS_PER_SECOND = 5
# A caller that says nothing of its pace leaves some of them to others.
_PAUSE_SECONDS = 0.25


class HealthCheck(msgspec.Struct, frozen=True):
    """A health check. `reference` is its CallerReference. `config` has the shape of boto3's `HealthCheckConfig`."""

    id: str
    version: int
    reference: str
    config: Mapping[str, Any]


class ProbeReport(msgspec.Struct, frozen=True):
    """One checker's last probe: whether it passed, and when that was (epoch seconds; `None` if it does not say)."""

    passed: bool
    checked_at: float | None = None


class Route53(Protocol):
    """Route 53 as one region reaches it.

    A method raises `ClientError` if Route 53 denies the call, `Throttled` if it is busy, `Unavailable` without answer.
    """

    def create_health_check(self, reference: str, config: Mapping[str, Any]) -> HealthCheck:
        """The new check. Repeated with the same reference and config it is the same check.

        HealthCheckAlreadyExists: the reference belongs to one of another config, or to one that was deleted.
        """

    def update_health_check(self, id: str, version: int, change: Mapping[str, Any]) -> HealthCheck:
        """The check after `change`, if it still had `version`. Otherwise HealthCheckVersionMismatch."""

    def delete_health_check(self, id: str) -> None:
        """Delete the check. Its reference stays taken."""

    def health_check(self, id: str) -> HealthCheck:
        """The check as it is now. NoSuchHealthCheck if it was deleted."""

    def health_checks(self, prefix: str = "") -> Sequence[HealthCheck]:
        """All checks of the account whose reference begins with `prefix`."""

    def probe_reports(self, id: str) -> Sequence[ProbeReport]:
        """The last probe of each checker. Not for calculated checks."""

    def record_sets(self, zone: str) -> Sequence[dict[str, Any]]:
        """All of the zone's records, in the shape of boto3's `ResourceRecordSet`."""

    def change_record_sets(self, zone: str, changes: Sequence[Mapping[str, Any]], comment: str) -> str:
        """Carry out all of `changes` or none. Gives the change's status: PENDING or INSYNC."""


class Pace:
    """Requests that begin at least `seconds` after each other: `keep` waits until the next one may begin."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic,
                 wait: Callable[[float], None] = time.sleep) -> None:
        self.seconds = seconds
        self._clock, self._wait, self._next = clock, wait, 0.0

    def keep(self) -> None:
        """Wait, if need be."""
        now = self._clock()
        if now < self._next:
            self._wait(self._next - now)
        self._next = max(now, self._next) + self.seconds


class AwsRoute53:
    """`Route53` by AWS. It keeps its pace by `clock` and `wait`."""

    def __init__(self, region: str, clients: Clients | None = None, *,
                 pause_seconds: float = _PAUSE_SECONDS, clock: Callable[[], float] = time.monotonic,
                 wait: Callable[[float], None] = time.sleep) -> None:
        self.region = region
        self._clients = clients
        self._pace = Pace(pause_seconds, clock, wait)

    def create_health_check(self, reference: str, config: Mapping[str, Any]) -> HealthCheck:
        answer = self._call(lambda route53: route53.create_health_check(
            CallerReference=reference, HealthCheckConfig=dict(config)))
        return _check(answer["HealthCheck"])

    def update_health_check(self, id: str, version: int, change: Mapping[str, Any]) -> HealthCheck:
        answer = self._call(lambda route53: route53.update_health_check(
            HealthCheckId=id, HealthCheckVersion=version, **change))
        return _check(answer["HealthCheck"])

    def delete_health_check(self, id: str) -> None:
        self._call(lambda route53: route53.delete_health_check(HealthCheckId=id))

    def health_check(self, id: str) -> HealthCheck:
        return _check(self._call(lambda route53: route53.get_health_check(HealthCheckId=id))["HealthCheck"])

    def health_checks(self, prefix: str = "") -> Sequence[HealthCheck]:
        return [_check(one) for page in self._pages("list_health_checks") for one in page["HealthChecks"]
                if one["CallerReference"].startswith(prefix)]

    def probe_reports(self, id: str) -> Sequence[ProbeReport]:
        answer = self._call(lambda route53: route53.get_health_check_status(HealthCheckId=id))
        # A checker that has not probed yet is listed without a report, and tells nothing.
        reports = [one["StatusReport"] for one in answer["HealthCheckObservations"] if "StatusReport" in one]
        return [ProbeReport(str(one.get("Status", "")).startswith("Success"),
                            one["CheckedTime"].timestamp() if "CheckedTime" in one else None) for one in reports]

    def record_sets(self, zone: str) -> Sequence[dict[str, Any]]:
        return [record for page in self._pages("list_resource_record_sets", HostedZoneId=zone)
                for record in page["ResourceRecordSets"]]

    def change_record_sets(self, zone: str, changes: Sequence[Mapping[str, Any]], comment: str) -> str:
        batch = {"Comment": comment, "Changes": list(changes)}
        answer = self._call(lambda route53: route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch))
        return str(answer["ChangeInfo"]["Status"])

    def _pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        self._pace.keep()
        for page in client.region_pages(self.region, self._client, operation, **arguments):
            yield page
            if page.get("IsTruncated"):
                self._pace.keep()

    def _call(self, request: Callable[[Any], Any]) -> Any:
        self._pace.keep()
        return client.aws_call(self.region, lambda: request(self._client))

    @property
    def _client(self) -> Any:
        return (self._clients or client.client)("route53", self.region)


def _check(answer: Mapping[str, Any]) -> HealthCheck:
    return HealthCheck(answer["Id"], int(answer["HealthCheckVersion"]), answer["CallerReference"],
                       answer["HealthCheckConfig"])
