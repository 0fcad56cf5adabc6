"""The worker's side of a runner, which invokes it, waits, and says how one ended that gave no answer."""

from typing import Any, Literal

import msgspec

from chalicelib import foreign
from chalicelib.aws.functions import Functions, Invocation
from chalicelib.runner.times import AROUND_SECONDS


class Broken(msgspec.Struct, frozen=True):
    """The end of a runner that gave no result. `detail` says it in words."""

    state: Literal["failed", "timed-out"]
    detail: str


def invoke(functions: Functions, name: str, payload: bytes, seconds: float) -> Invocation:
    """Has the runner `name` run for `seconds` at most, and waits for its end. Raises as `Functions.invoke` does."""
    return functions.invoke(name, payload, wait_seconds=seconds + AROUND_SECONDS)


def broken(ended: Invocation, name: str, memory_mb: int, what: str) -> Broken:
    """The end of the runner `name`, by the reason that Lambda gives ("Understanding retry behavior in Lambda").

    `what` is the code that ran in it, as in "its command".
    """
    try:
        told: dict[str, Any] = foreign.decode(ended.payload, dict[str, Any])
    except foreign.Undecodable:
        told = {}
    kind, words = str(told.get("errorType", ended.error)), foreign.line(str(told.get("errorMessage", "no reason")))
    if "Task timed out" in words or kind == "Sandbox.Timedout":
        return Broken("timed-out", f"Lambda ended {name}: {words}")
    if kind in ("Runtime.ExitError", "Runtime.OutOfMemory"):
        return Broken("failed", f"{name} ended before {what} ({kind}: {words}). Mostly its {memory_mb} MB are used up: "
                      f"give it more with memory_mb of [runners], or see whether {what} kills processes")
    return Broken("failed", f"{name} broke: {kind}: {words}")
