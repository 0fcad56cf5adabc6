"""The operations on health checks and tags. Meanings as in the API reference."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sandbox.route53.checkers import Checkers
from sandbox.route53.checks import ENDPOINT, create, update
from sandbox.route53.errors import Refusal, invalid
from sandbox.route53.operations_zones import page_size
from sandbox.route53.state import CHECKS_MOST, Account, described

Asked = Mapping[str, Any]

CHECKS_PAGE = 1000
TAGS_MOST = 10


def create_check(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """A new health check. The same one again for the same reference and settings."""
    reference = asked["CallerReference"]
    if reference in account.references:
        raise Refusal("HealthCheckAlreadyExists", f"A deleted health check had the reference {reference}.")
    known = next((check for check in account.checks.values() if check.reference == reference), None)
    id = known.id if known else str(uuid4())
    fresh = create(id, reference, asked["HealthCheckConfig"], account.checks, local=local)
    if known is not None and known.config != fresh.config:
        raise Refusal("HealthCheckAlreadyExists", f"The reference {reference} has other settings.")
    if known is None and len(account.checks) >= CHECKS_MOST:
        raise Refusal("TooManyHealthChecks", f"The limit of {CHECKS_MOST} health checks is reached.")
    told = account.remember(known or fresh)
    return {"HealthCheck": told, "Location": f"/2013-04-01/healthcheck/{told['Id']}"}


def update_check(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """The health check with new settings and the next version."""
    check = account.check(asked["HealthCheckId"])
    return {"HealthCheck": account.remember(update(check, asked, account.checks, local=local))}


def get_check(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """One health check."""
    return {"HealthCheck": described(account.check(asked["HealthCheckId"]))}


def list_checks(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """Health checks in pages of at most 1,000, in the order of their creation."""
    ids, marker = list(account.checks), asked.get("Marker", "")
    if marker and marker not in account.checks:
        raise invalid(f"Marker {marker!r} is not one that was given.")
    start, size = ids.index(marker) if marker else 0, page_size(asked, CHECKS_PAGE)
    page = {"HealthChecks": [described(account.checks[id]) for id in ids[start:start + size]],
            "IsTruncated": start + size < len(ids), "MaxItems": str(size), "Marker": marker}
    return page | ({"NextMarker": ids[start + size]} if page["IsTruncated"] else {})


def delete_check(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """The health check is gone, even if record sets use it, because "Route 53 does not prevent you from deleting" it.
    """
    check = account.check(asked["HealthCheckId"])
    del account.checks[check.id]
    account.buried.add(check.id)
    account.references.add(check.reference)
    account.tags.pop(("healthcheck", check.id), None)
    return {}


def check_status(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """The last result of each checker. Only for checks that probe an endpoint."""
    check = account.check(asked["HealthCheckId"])
    if check.kind not in ENDPOINT:
        raise invalid(f"The status of a health check of the type {check.kind} cannot be had.")
    return {"HealthCheckObservations": [
        {"Region": view.region, "IPAddress": "127.0.0.1", "StatusReport": {
            "Status": view.text, "CheckedTime": datetime.fromtimestamp(view.checked, UTC)}}
        for view in checkers.views(check.id) if view.checked is not None]}


def change_tags(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """Tags of a health check or a hosted zone, at most ten."""
    tags = account.tagged(asked["ResourceType"], asked["ResourceId"])
    after = {key: value for key, value in tags.items() if key not in asked.get("RemoveTagKeys", ())}
    after |= {tag["Key"]: tag.get("Value", "") for tag in asked.get("AddTags", ())}
    if len(after) > TAGS_MOST:
        raise invalid(f"There can be at most {TAGS_MOST} tags.")
    tags.clear()
    tags.update(after)
    return {}


def list_tags(account: Account, asked: Asked, local: bool, checkers: Checkers) -> dict[str, Any]:
    """The tags of a health check or a hosted zone."""
    tags = account.tagged(asked["ResourceType"], asked["ResourceId"])
    return {"ResourceTagSet": {"ResourceType": asked["ResourceType"], "ResourceId": asked["ResourceId"],
                               "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}}


CHANGING = ("CreateHealthCheck", "UpdateHealthCheck", "DeleteHealthCheck")
ALL: dict[str, Callable[[Account, Asked, bool, Checkers], dict[str, Any]]] = {
    "CreateHealthCheck": create_check, "UpdateHealthCheck": update_check, "GetHealthCheck": get_check,
    "ListHealthChecks": list_checks, "DeleteHealthCheck": delete_check, "GetHealthCheckStatus": check_status,
    "ChangeTagsForResource": change_tags, "ListTagsForResource": list_tags}
