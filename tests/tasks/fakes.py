"""An SQS, Powertools' table and a Lambda context in memory, as far as tasks use them."""

import itertools
import json
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.tasks.queues import QueueConfig

ARN = "arn:aws:sqs:eu-west-1:000000000000:lamp-test-"
URL = "https://sqs.eu-west-1.amazonaws.com/000000000000/lamp-test-"


def place(name: str = "default", *, fifo: bool = False, retries: int = 5, timeout: int = 60) -> QueueConfig:
    tail = ".fifo" if fifo else ""
    return QueueConfig(name, f"{URL}{name}{tail}", f"{name}-dead", f"{URL}{name}-dead{tail}", fifo, retries, timeout)


def record(
    body: object, number: int = 0, *, receives: int = 1, group: str = "", queue: str = "default"
) -> dict[str, Any]:
    """A record as Lambda gets it; a body that is no text is written as JSON."""
    attributes = {"ApproximateReceiveCount": str(receives), "SentTimestamp": "1000000", "SenderId": "A",
                  "ApproximateFirstReceiveTimestamp": "1000001"}
    if group:
        attributes["MessageGroupId"] = group
    return {
        "messageId": f"m{number}", "receiptHandle": f"r{number}", "attributes": attributes, "messageAttributes": {},
        "body": body if isinstance(body, str) else json.dumps(body), "md5OfBody": "", "eventSource": "aws:sqs",
        "eventSourceARN": f"{ARN}{queue}{'.fifo' if group else ''}", "awsRegion": "eu-west-1"}


class Context:
    """A Lambda context with `seconds` left, always."""

    aws_request_id = "request"

    def __init__(self, seconds: float = 900.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class SqsClient:
    """boto3's SQS client over queues in memory, with visibility by `clock`. Put exceptions or refusals in `broken`,
    `refuse` (a text that a body must hold to be refused)."""

    def __init__(self) -> None:
        self.queues: dict[str, list[dict[str, Any]]] = {}
        self.hidden: dict[str, int] = {}
        self.clock = 0.0
        self.broken: Exception | None = None
        self.refuse = ""
        self.requests: list[str] = []
        self._numbers = itertools.count(1)

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """What lies in the queue called `queue` in fleet.toml."""
        return next((kept for url, kept in self.queues.items() if url.removesuffix(".fifo") == f"{URL}{queue}"), [])

    def put(self, queue: str, body: str, attributes: dict[str, str] | None = None, **system: str) -> str:
        number = next(self._numbers)
        said = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
        self.queues.setdefault(f"{URL}{queue}", []).append({
            "MessageId": f"id-{number:04d}", "Body": body, "MessageAttributes": said, "visible": 0.0, "receives": 0,
            "system": {"SentTimestamp": str(number * 1000), **system}})
        return f"id-{number:04d}"

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._call("send", Entries)
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= 1024 * 1024
        failed = [entry for entry in Entries if self.refuse and self.refuse in entry["MessageBody"]]
        for entry in Entries:
            if entry not in failed:
                number = next(self._numbers)
                self.queues.setdefault(QueueUrl, []).append({
                    "MessageId": f"id-{number:04d}", "Body": entry["MessageBody"], "entry": entry, "visible": 0.0,
                    "MessageAttributes": entry.get("MessageAttributes", {}), "receives": 0,
                    "system": {"SentTimestamp": str(number * 1000), "MessageGroupId": entry.get("MessageGroupId", "")}})
        return {"Successful": [], "Failed": [
            {"Id": entry["Id"], "Code": "Refused", "Message": "refused by the test"} for entry in failed]}

    def receive_message(
        self, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int, **_: Any
    ) -> dict[str, Any]:
        self._call("receive", range(MaxNumberOfMessages))
        found = [kept for kept in self.queues.get(QueueUrl, ()) if kept["visible"] <= self.clock][:MaxNumberOfMessages]
        for kept in found:
            kept["receives"] += 1
            kept["visible"] = self.clock + VisibilityTimeout
            kept["receipt"] = f"{kept['MessageId']}/{kept['receives']}"
        return {"Messages": [self._shown(kept) for kept in found]} if found else {}

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._call("hide", Entries)
        by_receipt = {kept.get("receipt"): kept for kept in self.queues.get(QueueUrl, ())}
        for entry in Entries:
            assert 0 <= entry["VisibilityTimeout"] <= 43_200
            self.hidden[entry["ReceiptHandle"]] = entry["VisibilityTimeout"]
            if kept := by_receipt.get(entry["ReceiptHandle"]):
                kept["visible"] = self.clock + entry["VisibilityTimeout"]
        return {}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._call("delete", Entries)
        receipts = {entry["ReceiptHandle"] for entry in Entries}
        self.queues[QueueUrl] = [kept for kept in self.queues.get(QueueUrl, ()) if kept.get("receipt") not in receipts]
        return {}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        self._call("attributes", [0])
        waiting = [kept for kept in self.queues.get(QueueUrl, ()) if kept["visible"] <= self.clock]
        hidden = len(self.queues.get(QueueUrl, ())) - len(waiting)
        return {"Attributes": {"ApproximateNumberOfMessages": str(len(waiting)),
                               "ApproximateNumberOfMessagesNotVisible": str(hidden),
                               "ApproximateNumberOfMessagesDelayed": "0"}}

    def _shown(self, kept: dict[str, Any]) -> dict[str, Any]:
        system = {**kept["system"], "ApproximateReceiveCount": str(kept["receives"])}
        return {"MessageId": kept["MessageId"], "ReceiptHandle": kept["receipt"], "Body": kept["Body"],
                "Attributes": system, "MessageAttributes": kept["MessageAttributes"]}

    def _call(self, name: str, entries: Any) -> None:
        assert 1 <= len(entries) <= 10
        self.requests.append(name)
        if self.broken:
            raise self.broken


class DynamoClient:
    """boto3's DynamoDB client as far as Powertools' idempotency uses it: its condition is kept, by `now` (seconds)."""

    class meta:
        class events:
            @staticmethod
            def register_last(*_: object) -> None:
                """Powertools names itself to AWS here."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.broken: Exception | None = None

    def put_item(self, Item: dict[str, Any], ExpressionAttributeValues: dict[str, Any], **_: Any) -> dict[str, Any]:
        self._call()
        key = (Item["pk"]["S"], Item["sk"]["S"])
        there, values = self.items.get(key), ExpressionAttributeValues
        if there and not self._expired(there, values) and not self._lapsed(there, values):
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}, "Item": there}, "PutItem")  # type: ignore[typeddict-unknown-key]
        self.items[key] = Item
        return {}

    def update_item(self, Key: dict[str, Any], ExpressionAttributeValues: dict[str, Any], **_: Any) -> dict[str, Any]:
        self._call()
        values = ExpressionAttributeValues
        self.items[Key["pk"]["S"], Key["sk"]["S"]] |= {
            "ttl": values[":expiry"], "data": values[":response_data"], "status": values[":status"]}
        return {}

    def delete_item(self, Key: dict[str, Any], **_: Any) -> dict[str, Any]:
        self._call()
        self.items.pop((Key["pk"]["S"], Key["sk"]["S"]), None)
        return {}

    # A comparison with an attribute that is missing, or of another type, is false.
    @staticmethod
    def _expired(there: dict[str, Any], values: dict[str, Any]) -> bool:
        ttl = there.get("ttl", {}).get("N")
        return ttl is not None and int(ttl) < int(values[":now"]["N"])

    @staticmethod
    def _lapsed(there: dict[str, Any], values: dict[str, Any]) -> bool:
        until = there.get("in_progress_expiration", {}).get("N")
        return until is not None and (
            there.get("status") == values[":inprogress"] and int(until) < int(values[":now_in_millis"]["N"]))

    def _call(self) -> None:
        if self.broken:
            raise self.broken
