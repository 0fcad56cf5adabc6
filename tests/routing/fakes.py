"""Route 53's and S3's APIs in memory, as strict as the real ones where routing could go wrong."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.routing.records import diff


def refusal(code: str, message: str, status: int = 400) -> ClientError:
    """AWS's way to say no."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "X")  # type: ignore[arg-type]


class Route53:
    """One hosted zone and the account's health checks; `fault` is called before each request and may raise."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.checks: dict[str, dict[str, Any]] = {}
        self.observations = 16
        self.buried: set[str] = set()
        self.requests: list[str] = []
        self.fault: Callable[[str], None] = lambda method: None
        self.after: Callable[[], None] = lambda: None

    def get_paginator(self, method: str) -> Any:
        """Pages of three, so that whoever forgets the second is found out."""
        return type("Pages", (), {"paginate": lambda _, **arguments: self._pages(method)})()

    def _pages(self, method: str) -> Iterator[dict[str, Any]]:
        key, rows = {"list_resource_record_sets": ("ResourceRecordSets", self.records),
                     "list_health_checks": ("HealthChecks", list(self.checks.values()))}[method]
        for start in range(0, max(1, len(rows)), 300):
            self._request(method)
            yield {key: rows[start:start + 300]}

    def create_health_check(self, CallerReference: str, HealthCheckConfig: dict[str, Any]) -> dict[str, Any]:
        self._request("create_health_check")
        assert len(CallerReference) <= 64
        assert all(child in self.checks for child in HealthCheckConfig.get("ChildHealthChecks", ()))
        new = {"Id": f"id-{len(self.checks)}-{CallerReference}", "CallerReference": CallerReference,
               "HealthCheckConfig": HealthCheckConfig}
        if CallerReference in self.buried:
            raise refusal("HealthCheckAlreadyExists", "A health check with this caller reference was deleted")
        same = [check for check in self.checks.values() if check["CallerReference"] == CallerReference]
        if same and same[0]["HealthCheckConfig"] != HealthCheckConfig:
            raise refusal("HealthCheckAlreadyExists", CallerReference)
        check = self.checks.setdefault(str((same or [new])[0]["Id"]), new)
        return {"HealthCheck": check}

    def delete_health_check(self, HealthCheckId: str) -> dict[str, Any]:
        self._request("delete_health_check")
        parents = [check for check in self.checks.values()
                   if HealthCheckId in check["HealthCheckConfig"].get("ChildHealthChecks", ())]
        if parents or any(record.get("HealthCheckId") == HealthCheckId for record in self.records):
            raise refusal("HealthCheckInUse", HealthCheckId)
        self.buried.add(self.checks.pop(HealthCheckId)["CallerReference"])
        return {}

    def get_health_check_status(self, HealthCheckId: str) -> dict[str, Any]:
        self._request("get_health_check_status")
        assert self.checks[HealthCheckId]["HealthCheckConfig"]["Type"] != "CALCULATED"
        return {"HealthCheckObservations": [{}] * self.observations}

    def change_resource_record_sets(self, HostedZoneId: str, ChangeBatch: dict[str, Any]) -> dict[str, Any]:
        """All of a batch or nothing."""
        self._request("change_resource_record_sets")
        elements, characters = diff.size(ChangeBatch["Changes"])
        assert elements <= 1000 and characters <= 32_000
        new = list(self.records)
        for change in ChangeBatch["Changes"]:
            _apply(new, change["Action"], change["ResourceRecordSet"])
        for kinds in _policies(new).values():
            if len(kinds) > 1:
                raise refusal("InvalidChangeBatch", f"mixed policies {kinds}")
        for record in new:
            self._refers(new, record)
        self.records = new
        self.after()
        return {"ChangeInfo": {"Status": "PENDING"}}

    def _refers(self, new: list[dict[str, Any]], record: dict[str, Any]) -> None:
        target = record.get("AliasTarget", {}).get("DNSName", "")
        if target.endswith(".example.com.") and not any(other["Name"] == target for other in new):
            raise refusal("InvalidChangeBatch", f"{record['Name']}: alias target {target} not found")
        if self.checks and record.get("HealthCheckId") not in (*self.checks, None):
            raise refusal("InvalidChangeBatch", f"no health check {record['HealthCheckId']}")

    def _request(self, method: str) -> None:
        self.requests.append(method)
        self.fault(method)


def _id(record: dict[str, Any]) -> tuple[Any, ...]:
    return (record["Name"], record["Type"], record.get("SetIdentifier"))


def _apply(records: list[dict[str, Any]], action: str, record: dict[str, Any]) -> None:
    there = [old for old in records if _id(old) == _id(record)]
    if action == "CREATE" and there:
        raise refusal("InvalidChangeBatch", f"{_id(record)} exists")
    if action == "DELETE" and there != [record]:
        raise refusal("InvalidChangeBatch", f"{_id(record)}: not found, or its values differ")
    for old in there:
        records.remove(old)
    if action != "DELETE":
        records.append(record)


def _policies(records: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for record in records:
        kind = next((key for key in ("GeoLocation", "Failover", "Weight") if key in record), "simple")
        found.setdefault((record["Name"], record["Type"]), set()).add(kind)
    return found


class S3:
    """The buckets of one region, by name with their policy (empty: none), and their objects."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.buckets: dict[str, str] = {}
        self.shut: dict[str, str] = {}
        self.away = self.strict = False

    def head_bucket(self, Bucket: str, ExpectedBucketOwner: str) -> dict[str, Any]:
        self._reach()
        if Bucket not in self.buckets:
            raise refusal("404", "Not Found", 404)
        if self.shut.get(Bucket, ExpectedBucketOwner) != ExpectedBucketOwner:
            raise refusal("403", "Forbidden", 403)
        return {}

    def get_bucket_policy(self, Bucket: str, ExpectedBucketOwner: str) -> dict[str, Any]:
        if not self.buckets[Bucket]:
            raise refusal("NoSuchBucketPolicy", "The bucket policy does not exist", 404)
        return {"Policy": self.buckets[Bucket]}

    def create_bucket(self, Bucket: str, CreateBucketConfiguration: dict[str, str] | None = None) -> dict[str, Any]:
        self.buckets[Bucket] = ""
        return {}

    def put_public_access_block(self, Bucket: str, PublicAccessBlockConfiguration: dict[str, bool]) -> dict[str, Any]:
        assert PublicAccessBlockConfiguration["BlockPublicAcls"]
        assert not PublicAccessBlockConfiguration["BlockPublicPolicy"]
        return {}

    def put_bucket_policy(self, Bucket: str, Policy: str) -> dict[str, Any]:
        if self.strict:
            raise refusal("AccessDenied", "public policies are prevented by the BlockPublicPolicy setting", 403)
        self.buckets[Bucket] = Policy
        return {}

    def put_object(self, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:
        self._reach()
        self.objects[Bucket, Key] = Body
        return {}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self._reach()
        if (Bucket, Key) not in self.objects:
            raise refusal("NoSuchKey", Key, 404)
        return {"Body": io.BytesIO(self.objects[Bucket, Key])}

    def delete_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self._reach()
        self.objects.pop((Bucket, Key), None)
        return {}

    def _reach(self) -> None:
        if self.away:
            raise refusal("InternalError", "the region is away", 503)
