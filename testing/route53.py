"""Route 53 in memory: one account's health checks and the records of its hosted zones, as strict as the real one.

All regions of a test share one `FakeRoute53`. Its state is public: a test sets it up and reads what the calls changed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.route53 import HealthCheck, ProbeReport

# Called before and after each effect with the call's name, as in "route53 update_health_check"; it may wait, or raise.
Fault = Callable[[str], None]


def _no_fault(call: str) -> None:
    """Nothing goes wrong."""


def _sixteen_pass(check: HealthCheck) -> Sequence[ProbeReport]:
    return [ProbeReport(passed=True)] * 16


def _denied(code: str, call: str, why: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": why},
                        "ResponseMetadata": {"HTTPStatusCode": 400}}, call)  # type: ignore[typeddict-item]


class FakeRoute53:
    """`chalicelib.aws.route53.Route53`.

    `probe` gives the reports about a check. `on_change` is called with each check that was made or changed. `requests`
    has the names of all calls. References in `buried` belong to deleted checks and stay taken.
    """

    def __init__(
        self, fault: Fault = _no_fault, *, probe: Callable[[HealthCheck], Sequence[ProbeReport]] = _sixteen_pass,
        on_change: Callable[[HealthCheck], None] = lambda check: None,
    ) -> None:
        self.fault, self.probe, self.on_change = fault, probe, on_change
        self.checks: dict[str, HealthCheck] = {}
        self.by_reference: dict[str, str] = {}
        self.buried: set[str] = set()
        self.zones: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.on_records: Callable[[], None] = lambda: None
        self._made = 0

    def create_health_check(self, reference: str, config: Mapping[str, Any]) -> HealthCheck:
        self._begin("create_health_check")
        if not 1 <= len(reference) <= 64:
            raise _denied("InvalidInput", "CreateHealthCheck", f"a reference of {len(reference)} characters")
        check = self.checks.get(self.by_reference.get(reference, ""))
        if reference in self.buried or (check and check.version == 1 and check.config != config):
            raise _denied("HealthCheckAlreadyExists", "CreateHealthCheck", reference)
        if check is None:
            self._children_exist(config, "CreateHealthCheck")
            self._made += 1
            check = HealthCheck(f"check-{self._made}", 1, reference, dict(config))
            self.checks[check.id] = check
            self.by_reference[reference] = check.id
            self.on_change(check)
        self._end("create_health_check")
        return check

    def update_health_check(self, id: str, version: int, change: Mapping[str, Any]) -> HealthCheck:
        self._begin("update_health_check")
        before = self._existing(id, "UpdateHealthCheck")
        if before.version != version:
            raise _denied("HealthCheckVersionMismatch", "UpdateHealthCheck", f"{id} has version {before.version}")
        if fixed := {"Type", "RequestInterval"} & change.keys():
            raise _denied("InvalidInput", "UpdateHealthCheck", f"{sorted(fixed)} cannot change")
        self._children_exist(change, "UpdateHealthCheck")
        check = HealthCheck(id, version + 1, before.reference, {**before.config, **change})
        self.checks[id] = check
        self.on_change(check)
        self._end("update_health_check")
        return check

    def delete_health_check(self, id: str) -> None:
        self._begin("delete_health_check")
        check = self._existing(id, "DeleteHealthCheck")
        watched = any(id in other.config.get("ChildHealthChecks", ()) for other in self.checks.values())
        if watched or any(record.get("HealthCheckId") == id for zone in self.zones.values() for record in zone):
            raise _denied("HealthCheckInUse", "DeleteHealthCheck", id)
        del self.checks[id], self.by_reference[check.reference]
        self.buried.add(check.reference)
        self._end("delete_health_check")

    def lose_health_check(self, id: str) -> None:
        """Somebody deletes the check, whatever watches it: Route 53 does not prevent that."""
        check = self.checks.pop(id)
        del self.by_reference[check.reference]
        self.buried.add(check.reference)

    def health_check(self, id: str) -> HealthCheck:
        self._begin("health_check")
        check = self._existing(id, "GetHealthCheck")
        self._end("health_check")
        return check

    def health_checks(self, prefix: str = "") -> Sequence[HealthCheck]:
        self._begin("health_checks")
        found = [check for check in self.checks.values() if check.reference.startswith(prefix)]
        self._end("health_checks")
        return found

    def probe_reports(self, id: str) -> Sequence[ProbeReport]:
        self._begin("probe_reports")
        check = self._existing(id, "GetHealthCheckStatus")
        if check.config["Type"] == "CALCULATED":
            raise _denied("InvalidInput", "GetHealthCheckStatus", f"{id} is calculated")
        reports = self.probe(check)
        self._end("probe_reports")
        return reports

    def record_sets(self, zone: str) -> Sequence[dict[str, Any]]:
        self._begin("record_sets")
        records = list(self._zone(zone, "ListResourceRecordSets"))
        self._end("record_sets")
        return records

    def change_record_sets(self, zone: str, changes: Sequence[Mapping[str, Any]], comment: str) -> str:
        self._begin("change_record_sets")
        call = "ChangeResourceRecordSets"
        elements, characters = (sum(sizes) for sizes in zip(*map(_size, changes), strict=True))
        if elements > 1000 or characters > 32_000:
            raise _denied("InvalidChangeBatch", call, f"{elements} elements of {characters} characters are too many")
        after = list(self._zone(zone, call))
        for change in changes:
            _change(after, change["Action"], change["ResourceRecordSet"], call)
        self._check_zone(after, call)
        self.zones[zone] = after
        self.on_records()
        self._end("change_record_sets")
        return "PENDING"

    def _begin(self, call: str) -> None:
        self.requests.append(call)
        self.fault(f"route53 {call}")

    def _end(self, call: str) -> None:
        self.fault(f"route53 {call}")

    def _existing(self, id: str, call: str) -> HealthCheck:
        if id not in self.checks:
            raise _denied("NoSuchHealthCheck", call, id)
        return self.checks[id]

    def _zone(self, zone: str, call: str) -> list[dict[str, Any]]:
        if zone not in self.zones:
            raise _denied("NoSuchHostedZone", call, zone)
        return self.zones[zone]

    def _children_exist(self, config: Mapping[str, Any], call: str) -> None:
        if missing := [child for child in config.get("ChildHealthChecks", ()) if child not in self.checks]:
            raise _denied("InvalidInput", call, f"no health checks {missing}")

    def _check_zone(self, records: Sequence[Mapping[str, Any]], call: str) -> None:
        names, policies = {record["Name"] for record in records}, dict[tuple[str, str], str]()
        for record in records:
            policy = next((key for key in ("GeoLocation", "Failover", "Weight") if key in record), "simple")
            if policies.setdefault((record["Name"], record["Type"]), policy) != policy:
                raise _denied("InvalidChangeBatch", call, f"{record['Name']}: mixed routing policies")
            alias = record.get("AliasTarget", {})
            own = alias.get("DNSName", "") and alias["HostedZoneId"] in self.zones
            if own and alias["DNSName"] not in names:
                why = f"{record['Name']}: alias target {alias['DNSName']} not found"
                raise _denied("InvalidChangeBatch", call, why)
            if record.get("HealthCheckId") not in (*self.checks, None):
                raise _denied("InvalidChangeBatch", call, f"no health check {record['HealthCheckId']}")


def _size(change: Mapping[str, Any]) -> tuple[int, int]:
    """The elements and characters that Route 53 counts: each value of a record, twice for an UPSERT."""
    values = [one["Value"] for one in change["ResourceRecordSet"].get("ResourceRecords", ())]
    times = 2 if change["Action"] == "UPSERT" else 1
    return times * max(1, len(values)), times * sum(map(len, values))


def _change(records: list[dict[str, Any]], action: str, record: Mapping[str, Any], call: str) -> None:
    key = _key(record)
    same = [old for old in records if _key(old) == key]
    if action == "CREATE" and same:
        raise _denied("InvalidChangeBatch", call, f"{key} exists")
    if action == "DELETE" and same != [record]:
        raise _denied("InvalidChangeBatch", call, f"{key}: not found, or its values differ")
    for old in same:
        records.remove(old)
    if action != "DELETE":
        records.append(dict(record))


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return (record["Name"], record["Type"], record.get("SetIdentifier"))
