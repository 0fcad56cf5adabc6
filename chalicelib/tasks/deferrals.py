"""How often a message was given back without a try.

SQS counts how often it handed a message out; that is the number of tries plus the number of these. Noted on an item of
the message's own in the regional table, only when it happens: one that succeeds at once costs no write.
"""

from chalicelib.aws.store import Store

_KEPT = 15 * 86_400  # a day longer than any queue keeps a message


def count(table: Store, message: str) -> int:
    """Deferrals of the message so far."""
    item = table.get(_pk(message), "waits")
    return int(item.body["count"]) if item else 0


def add(table: Store, message: str, now: int) -> None:
    """One more. A message is in one hand at a time, so a lost race means that SQS handed it out twice: no harm."""
    item = table.get(_pk(message), "waits")
    if item is None:
        table.create(_pk(message), "waits", {"count": 1}, ttl=now + _KEPT)
    else:
        table.compare_and_set(item, {"count": int(item.body["count"]) + 1}, ttl=now + _KEPT)


def _pk(message: str) -> str:
    return f"task-message#{message}"
