"""Global tables of DynamoDB, with replicas by CloudFormation, and late copies.

ministack creates a GlobalTable's table in one region only and copies writes at once. Here a GlobalTable gets all its
replicas. With multi-region strong consistency a write is in every replica before it is answered (one event loop makes
that atomic). A plain global table is last-writer-wins, and with `Faults.lag` its copies arrive that much later.
"""

import copy
import threading
import time
from typing import Any

from sandbox.emulator_patches import Context, change

# (region, table, key) -> time of the newest write that the replica has seen: the last writer wins.
_newest: dict[tuple[str, str, Any, Any], float] = {}


@change("services.cloudformation.provisioners", "_ddb_global_table_create", "logical_id props stack_name",
        "a GlobalTable has all its replicas")
def creation(original: Any, context: Context) -> Any:
    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        return _create(original, logical_id, props, stack_name)

    _handlers()["create"] = create
    return create


@change("services.cloudformation.provisioners", "_ddb_global_table_delete", "physical_id props",
        "a GlobalTable goes with all its replicas")
def deletion(original: Any, context: Context) -> Any:
    def delete(physical_id: str, props: dict[str, Any]) -> None:
        _delete(original, physical_id, props)

    _handlers()["delete"] = delete
    return delete


def _handlers() -> dict[str, Any]:
    from ministack.services.cloudformation import provisioners

    handlers: dict[str, Any] = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::GlobalTable"]
    return handlers


def _create(create: Any, logical: str, props: dict[str, Any], stack: str) -> Any:
    from ministack.services import dynamodb

    created = create(logical, props, stack)
    name, home = created[0], dynamodb.get_region()
    table = dynamodb._tables[name]
    table["_strong"] = props.get("MultiRegionConsistency") == "STRONG"
    regions = [replica["Region"] for replica in props.get("Replicas", ())]
    for region in regions:
        if region != home:
            dynamodb._create_replica(name, table, region)
    dynamodb._set_replica_group(name, regions)
    return created


def _delete(delete: Any, physical: str, props: dict[str, Any]) -> None:
    from ministack.services import dynamodb

    for replica in props.get("Replicas", ()):
        if replica["Region"] != dynamodb.get_region():
            dynamodb._tables.pop_scoped(dynamodb.get_account_id(), replica["Region"], physical, None)
    delete(physical, props)


@change("services.dynamodb", "_replicate_write", "table event_name old_item new_item",
        "copies of a plain global table may be late, and the last writer wins")
def late(original: Any, context: Context) -> Any:
    from ministack.services import dynamodb

    def replicate(table: dict[str, Any], event_name: str, old_item: Any, new_item: Any) -> None:
        if not dynamodb._replica_group(table) or table.get("_strong") or not context.faults.lag:
            original(table, event_name, old_item, new_item)
            return
        item, written = new_item if new_item is not None else old_item, time.time()
        home, account = dynamodb.get_region(), dynamodb.get_account_id()
        _newest[(home, *_key(table, item))] = written
        for region in dynamodb._replica_group(table):
            if region != home:
                arguments = (account, region, table["TableName"], copy.deepcopy(item), new_item is None, written)
                timer = threading.Timer(context.faults.lag, _arrive, arguments)
                timer.daemon = True
                timer.start()

    return replicate


def _key(table: dict[str, Any], item: dict[str, Any]) -> tuple[str, Any, Any]:
    from ministack.services import dynamodb

    sort = dynamodb._extract_key_val(item.get(table["sk_name"])) if table["sk_name"] else "__no_sort__"
    return table["TableName"], dynamodb._extract_key_val(item.get(table["pk_name"])), sort


def _arrive(account: str, region: str, name: str, item: dict[str, Any], gone: bool, written: float) -> None:
    from ministack import app

    loop = app._MAIN_LOOP
    if loop is not None and not loop.is_closed():
        # On the loop, as every other write: no two writes ever run at once.
        loop.call_soon_threadsafe(_settle, account, region, name, item, gone, written)


def _settle(account: str, region: str, name: str, item: dict[str, Any], gone: bool, written: float) -> None:
    from ministack.services import dynamodb

    with dynamodb.request_scope(account, region):
        table = dynamodb._tables.get(name)
        if table is None or _newest.get((region, *_key(table, item)), 0.0) > written:
            return
        _newest[(region, *_key(table, item))] = written
        _, partition, sort = _key(table, item)
        if gone:
            dynamodb._remove_item(table, partition, sort)
        else:
            dynamodb._set_item(table, partition, sort, item)
