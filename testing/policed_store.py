"""A store that answers as DynamoDB does under the permissions of one Lambda.

    context = policed(context, "schedules.work")     # its stores deny what the Lambda's row does not grant

The least-privilege tests try each permission on AWS's own terms, with a few exercises for each Lambda. This holds the
others to the same rows: whatever an operation does in a test, its Lambda may do.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib import registry
from chalicelib.aws.store import Item, Store
from chalicelib.context import RegionContext
from chalicelib.engine.deployment import COORDINATION_TABLE, REGIONAL_TABLE


class PolicedStore:
    """`store`, as far as the Lambda `name` (`schedules.work`) may use the coordination table, or its regional one."""

    def __init__(self, store: Store, name: str, *, coordination: bool) -> None:
        self.store, self._name, self._coordination = store, name, coordination

    def get(self, pk: str, sk: str) -> Item | None:
        """As `Store.get`."""
        self._allow("GetItem", pk)
        return self.store.get(pk, sk)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """As `Store.get_many`."""
        self._allow("BatchGetItem", *(pk for pk, _ in keys))
        return self.store.get_many(keys)

    def query(self, pk: str, **limits: Any) -> list[Item]:
        """As `Store.query`."""
        self._allow("Query", pk)
        return self.store.query(pk, **limits)

    def create(self, pk: str, sk: str, body: dict[str, Any], **more: Any) -> Item | None:
        """As `Store.create`."""
        self._allow("PutItem", pk)
        return self.store.create(pk, sk, body, **more)

    def compare_and_set(self, old: Item, body: dict[str, Any], **more: Any) -> Item | None:
        """As `Store.compare_and_set`."""
        self._allow("PutItem", old.pk)
        return self.store.compare_and_set(old, body, **more)

    def delete(self, old: Item) -> bool:
        """As `Store.delete`."""
        self._allow("DeleteItem", old.pk)
        return self.store.delete(old)

    def scan_expired(self, now: int, part: int = 0, parts: int = 1) -> Iterator[Item]:
        """As `Store.scan_expired`."""
        self._allow("Scan")
        return self.store.scan_expired(now, part, parts)

    def __getattr__(self, name: str) -> Any:
        # Fakes have more for their tests.
        return getattr(self.store, name)

    def _allow(self, action: str, *keys: str) -> None:
        if all(_allowed(self._name, self._coordination, action, key) for key in keys or [""]):
            return
        message = f"{self._name} is not authorized to perform: dynamodb:{action} on {', '.join(keys)}"
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": message},
                           "ResponseMetadata": {"HTTPStatusCode": 400}}, action)  # type: ignore[typeddict-item]


@cache
def _rows() -> dict[str, Any]:
    return {row.name: row.permissions for row in registry.lambdas()}


@cache
def _allowed(name: str, coordination: bool, action: str, key: str) -> bool:
    """Whether one statement of the Lambda `name` allows `action` on the item with this partition key."""
    # A placeholder stands for the coordination table where fleet.toml has the section that needs it.
    resources = (COORDINATION_TABLE, "{primary-record}", "{region-checks}") if coordination else (REGIONAL_TABLE,)
    return any(f"dynamodb:{action}" in permission.actions.split() and permission.resource in resources and (
        not permission.keys or any(fnmatchcase(key, known) for known in permission.keys))
        for permission in _rows()[name])


def policed(context: RegionContext, name: str) -> RegionContext:
    """`context` with stores that deny what the Lambda `name` may not do. Operations of tests have no row, and no limit.
    """
    if name not in _rows() or isinstance(context.shared_store, PolicedStore):
        return context
    return msgspec.structs.replace(
        context, shared_store=PolicedStore(context.shared_store, name, coordination=True),
        local_store=PolicedStore(context.local_store, name, coordination=False))
