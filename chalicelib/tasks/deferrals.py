"""How often a message was given back without a try.

SQS counts how often it handed a message out. That is the number of tries plus the number of these. It is an item of the
message's own in the regional table, written only if it happens. A message that succeeds at once costs no write.
"""

from chalicelib.aws.store import Store

_KEPT = 15 * 86_400  # a day longer than any queue keeps a message


def count(table: Store, message: str) -> int:
    """Deferrals of the message so far."""
    item = table.get(_pk(message), "waits")
    return int(item.body["count"]) if item else 0


def add(table: Store, message: str, now: int) -> None:
    """One more. Only one worker has a message at a time. A lost race means that SQS delivered it twice, which does no
    harm."""
    item = table.get(_pk(message), "waits")
    if item is None:
        table.create(_pk(message), "waits", {"count": 1}, ttl=now + _KEPT)
    else:
        table.compare_and_set(item, {"count": int(item.body["count"]) + 1}, ttl=now + _KEPT)


def _pk(message: str) -> str:
    return f"task-message#{message}"
