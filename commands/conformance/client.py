"""Route 53's API at the pace that it allows, for `./lamp routing conformance`."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

# Five requests a second from an account until 2026, ten since; others need some, too.
PAUSE_SECONDS = 0.25
_BUSY = ("Throttling", "ThrottlingException", "PriorRequestNotComplete", "ServiceUnavailable")
# CreateHealthCheck and DeleteHealthCheck have buckets of their own that refill as slowly as every two seconds
# ("Throttling for Amazon Route 53 API requests").
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 16.0)
_PAGE = "100"


class Pace(NamedTuple):
    """The passage of time, which for a test is none."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


class Calls:
    """A boto3 client of Route 53 that is asked slowly, and again when it is busy."""

    def __init__(self, client: Any, pace: Pace) -> None:
        self._client, self.pace = client, pace
        self.repeated = 0

    def call(self, method: str, **arguments: Any) -> Any:
        """One request. An error of Route 53 that persists for 47 s is raised."""
        for wait in (*_WAITS, None):
            self.pace.sleep(PAUSE_SECONDS)
            try:
                return getattr(self._client, method)(**arguments)
            except ClientError as error:
                if wait is None or error.response.get("Error", {}).get("Code") not in _BUSY:
                    raise
            self.repeated += 1
            self.pace.sleep(wait)
        raise AssertionError

    def records(self, zone: str, hostname: str) -> Iterator[dict[str, Any]]:
        """The record sets at `hostname` and below. They come together, because the listing goes by name with labels
        reversed."""
        start: dict[str, str] = {"StartRecordName": f"{hostname}."}
        while start:
            page = self.call("list_resource_record_sets", HostedZoneId=zone, MaxItems=_PAGE, **start)
            for record in page["ResourceRecordSets"]:
                if not f".{record['Name'].lower()}".endswith(f".{hostname}."):
                    return
                yield record
            start = {f"Start{key.removeprefix('Next')}": page[key] for key in (
                "NextRecordName", "NextRecordType", "NextRecordIdentifier") if key in page}

    def checks(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The account's health checks whose caller reference begins so."""
        start: dict[str, str] = {}
        while True:
            page = self.call("list_health_checks", MaxItems=_PAGE, **start)
            yield from (check for check in page["HealthChecks"] if check["CallerReference"].startswith(prefix))
            if not page["IsTruncated"]:
                return
            start = {"Marker": page["NextMarker"]}
