"""Route 53 for the health checks, with few calls, evenly spaced, and each answer turned into plain values.

Route 53 takes five requests a second from an account, whatever the region, so each of the fleet's regions keeps to its
share. Facts are from the Route 53 API reference (2013-04-01) as boto3 carries it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from chalicelib.aws import client
from chalicelib.engine.operation import Rejected
from chalicelib.health_checks.state import KEY, CheckConfig

T = TypeVar("T")

REQUESTS_PER_SECOND = 5
# GetHealthCheckStatus reports each checker's last probe; Route 53 calls a check healthy when more than 18% do.
HEALTHY_SHARE = 0.18
_THROTTLED = frozenset({"Throttling", "PriorRequestNotComplete"})


class Route53:
    """Requests to Route 53 from one of `regions` regions. Each may raise `cloud.Unreachable`, also when throttled."""

    def __init__(self, region: str, regions: int, clock: Callable[[], float] = time.monotonic,
                 wait: Callable[[float], None] = time.sleep) -> None:
        self.region, self._pause = region, regions / REQUESTS_PER_SECOND
        self._clock, self._wait, self._next = clock, wait, 0.0

    def create(self, reference: str, config: dict[str, Any]) -> tuple[str, int]:
        """Id and version of the new check. Repeated with the same reference and config it is the same check."""
        answer = self._call("create_health_check", CallerReference=reference, HealthCheckConfig=config)
        return answer["HealthCheck"]["Id"], int(answer["HealthCheck"]["HealthCheckVersion"])

    def update(self, id: str, version: int, change: dict[str, Any]) -> int:
        """The new version, if the check still had `version`. Else `ClientError` HealthCheckVersionMismatch."""
        answer = self._call("update_health_check", HealthCheckId=id, HealthCheckVersion=version, **change)
        return int(answer["HealthCheck"]["HealthCheckVersion"])

    def healthy(self, id: str, since: float) -> bool | None:
        """Whether Route 53's checkers see the target healthy, by their probes since then. `None` if there are none."""
        answer = self._call("get_health_check_status", HealthCheckId=id)
        reports = [one["StatusReport"] for one in answer["HealthCheckObservations"] if "StatusReport" in one]
        said = [str(one.get("Status", "")).startswith("Success") for one in reports
                if "CheckedTime" not in one or one["CheckedTime"].timestamp() >= since]
        return sum(said) > HEALTHY_SHARE * len(said) if said else None

    def get(self, id: str) -> CheckConfig:
        """The check as it is."""
        return _found(self._call("get_health_check", HealthCheckId=id)["HealthCheck"])

    def all(self, prefix: str) -> Iterator[tuple[str, CheckConfig]]:
        """Every check of the account whose reference begins with `prefix`, with the rest of its reference."""
        page: dict[str, Any] = {}
        while True:
            answer = self._call("list_health_checks", **page)
            for one in answer["HealthChecks"]:
                if one["CallerReference"].startswith(prefix):
                    yield one["CallerReference"].removeprefix(prefix), _found(one)
            if not answer.get("IsTruncated"):
                return
            page = {"Marker": answer["NextMarker"]}

    def _call(self, method: str, **arguments: Any) -> Any:
        now = self._clock()
        if now < self._next:
            self._wait(self._next - now)
        self._next = max(now, self._next) + self._pause
        try:
            return client.aws_call(self.region,
                                  lambda: getattr(client.client("route53", self.region), method)(**arguments))
        except client.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code in _THROTTLED:
                raise client.Unavailable(f"route53: {error}") from error
            if code == "NoSuchHealthCheck":
                raise Rejected(f"health check {arguments['HealthCheckId']} was deleted in Route 53; to begin anew, "
                              f"delete the other checks of {self.region} and the item {'/'.join(KEY)} of its regional "
                              f"table") from None
            raise


def _found(check: dict[str, Any]) -> CheckConfig:
    config = check["HealthCheckConfig"]
    return CheckConfig(check["Id"], int(check["HealthCheckVersion"]), config.get("SearchString", ""),
                 config.get("IPAddress", ""), tuple(config.get("ChildHealthChecks", ())),
                 int(config.get("HealthThreshold", 0)))
