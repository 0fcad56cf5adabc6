"""Policies that go by partition keys, and alarms on expressions, which the emulator does not know.

`dynamodb:LeadingKeys` holds the partition key of each item that a call names ("Using IAM policy conditions for
fine-grained access control", DynamoDB developer guide). A scan has none. Both tables call their partition key `pk`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from sandbox.emulator_patches import Context, change

_QUERIED = re.compile(r"\bpk\s*=\s*(:\w+)")


def leading_keys(body: bytes) -> list[str]:
    """The partition keys that a call of DynamoDB names, each once."""
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return []
    return sorted(set(_keys(data))) if isinstance(data, dict) else []


def _keys(data: dict[str, Any]) -> Iterator[str]:
    items = [data.get("Key"), data.get("Item")]
    items += [key for table in data.get("RequestItems", {}).values() if isinstance(table, dict)
              for key in table.get("Keys", ())]
    yield from (str(item["pk"]["S"]) for item in items if item and "pk" in item)
    if queried := _QUERIED.search(data.get("KeyConditionExpression", "")):
        yield str(data["ExpressionAttributeValues"][queried[1]]["S"])


@change("core.iam_actions", "dynamodb_service_context", "body", "a policy may go by the partition keys of items")
def context_keys(original: Any, context: Context) -> Any:
    def service_context(body: bytes) -> dict[str, Any]:
        keys = leading_keys(body)
        return {**original(body), **({"dynamodb:LeadingKeys": keys} if keys else {})}

    return service_context


@change("services.cloudformation.provisioners", "_cw_metric_alarm_record", "name props",
        "an alarm on an expression is kept as it is declared, and never evaluated")
def alarm_records(original: Any, context: Context) -> Any:
    def record(name: str, props: dict[str, Any]) -> Any:
        if not props.get("Metrics"):
            return original(name, props)
        plain = {key: value for key, value in props.items() if key != "Metrics"}
        found = original(name, {**plain, "MetricName": "-", "Namespace": "-"})
        # Without these two the emulator's own evaluation leaves an alarm alone.
        return {**found, "MetricName": None, "Namespace": None}

    return record
