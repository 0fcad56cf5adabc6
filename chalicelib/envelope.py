"""The body of a task's message, which is plain JSON, so that PHP or any other program can send one.

    {"task": "invoices.render", "args": {"customer": 7}}

`task` names a function (`module.function` under tasks/), `args` are its keyword arguments. Optional fields are `id`
(the sender's name for it, for the logs), `key` (work with an equal key runs once), `sent_at` (RFC 3339 with zone), and
`meta` (an object that passes through unchanged). `send` counts in `hops` how many tasks have sent one another
before. Any other field is an error, because a misspelt `arg` must not run with no arguments.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from chalicelib import foreign

# The size that every queue takes, whenever it was made; some of it is kept for the dead letter's own account of why.
MAX_BYTES = 256 * 1024
RESERVED_BYTES = 4 * 1024


class Malformed(Exception):
    """The body is no envelope. The text says what is wrong and where."""


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One call of one task, as it travels."""

    task: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    args: dict[str, Any] = {}
    id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None
    sent_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    meta: dict[str, Any] = {}
    hops: Annotated[int, msgspec.Meta(ge=0)] = 0


def decode(body: str) -> Envelope:
    """The envelope in `body`. `Malformed` names the field that is wrong."""
    try:
        found: Envelope = foreign.decode(body, Envelope)
    except foreign.Undecodable as error:
        raise Malformed(f"the body is not a task's envelope ({error}). See docs/tasks.md, 'From PHP'") from None
    return found


def encode(envelope: Envelope, most_bytes: int = MAX_BYTES) -> str:
    """The body that `decode` reads back. Dates, decimals and UUIDs in `args` become text, as JSON has no word for them.

    `Malformed` if an argument cannot be written, or if the body is longer than a queue takes, `most_bytes`.
    """
    try:
        body = msgspec.json.encode(envelope)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise Malformed(f"{envelope.task}: an argument cannot be written as JSON: {error}") from None
    room = most_bytes - RESERVED_BYTES
    if len(body) > room:
        raise Malformed(
            f"{envelope.task}: the message is {len(body):,} bytes long and a queue takes {room:,}. "
            "Put the data where the task can fetch it (S3, a table) and send its name")
    return body.decode()
