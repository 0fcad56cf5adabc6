"""Route 53's own API, at the pace that it allows. Nothing that keeps users served in a failure comes this way."""

import time
from typing import Any

from chalicelib.aws import client
from chalicelib.engine.operation import RequeueAfter

# Served from there, whatever region asks.
REGION = "us-east-1"
# Route 53 takes five requests a second from an account; others need some, too.
PAUSE_SECONDS = 0.25
_AGAIN = "~"
_BUSY = ("PriorRequestNotComplete", "Throttling", "ThrottlingException")


def again(reference: str, now: int) -> str:
    """Another reference for the check of `reference`, which was deleted by somebody. Made at `now`."""
    return f"{reference}{_AGAIN}{now:x}"


def first(reference: str) -> str:
    """The reference for which `again` made this one, or itself."""
    return reference.partition(_AGAIN)[0]


def pages(method: str, key: str, **arguments: Any) -> list[Any]:
    """All that a listing has under `key`, over as many requests as it takes."""
    listing = client.client("route53", REGION).get_paginator(method)
    found: list[Any] = client.aws_call(REGION, lambda: [
        one for page in listing.paginate(**arguments) for one in page[key]])
    return found


def call(method: str, **arguments: Any) -> Any:
    """One request. `Later` while Route 53 is busy with others."""
    time.sleep(PAUSE_SECONDS)
    try:
        return client.aws_call(REGION, lambda: getattr(client.client("route53", REGION), method)(**arguments))
    except client.ClientError as error:
        if error.response.get("Error", {}).get("Code") in _BUSY:
            raise RequeueAfter(f"Route 53 is busy ({error}); what was done stays, the rest follows", 30) from None
        raise
