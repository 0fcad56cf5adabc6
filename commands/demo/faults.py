"""The results of the demo's tunnels, fault by fault, from the controller's own journal. Pure."""

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

FAR = "the far side away"
# A fault is over by then, or will not be: a replacement takes longest (s).
HEALED_SECONDS = 150.0
# What the healer does to a tunnel; the rest of its journal is what it tells people.
_ACTS = frozenset({"drain", "undrain", "restart", "replace", "stop", "start"})


class Deed(msgspec.Struct, frozen=True):
    """One thing that the controller did, `after` so many seconds from the fault, and why, in its journal's words."""

    after: int
    kind: str
    why: str


class Fault(msgspec.Struct, frozen=True):
    """One fault, with its time without traffic, the time of full recovery (s), and the controller's observations and
    actions.

    `well_after` is `None` without a repair, and the scenario ends there.
    """

    name: str
    nothing_seconds: float
    well_after: float | None
    saw: list[str]
    deeds: list[Deed]


class Told(msgspec.Struct, frozen=True):
    """The results of the tunnels. `measured` is the traffic, which is replication, or handshakes without MariaDB."""

    primary: str
    region: str
    parts: str
    measured: str
    faults: list[Fault]
    rows: int | None
    lost: int | None
    failures: list[str]


def deeds(journal: Iterable[tuple[str, dict[str, Any]]], known: Container[str], since: float) -> list[Deed]:
    """The controller's actions, by those items of the journal that are not `known`. `since` is when the fault began.

    An item is its name, "2026-11-24T12:34:56#tunnels.heal#...", and its body. Its time is its round's, a whole second.
    """
    found = []
    for name, body in journal:
        if body["operation"] == "tunnels.heal" and name not in known:
            at = datetime.fromisoformat(f"{name[:19]}+00:00").timestamp()
            found += [_deed(round(max(0.0, at - since)), action, body.get("results", ())) for action in body["actions"]]
    return found


def _deed(after: int, action: dict[str, Any], results: Sequence[str]) -> Deed:
    came = [line for line in results if line.startswith(f"{action['target']}: {action['kind']} of ")]
    # What was not done after all says so itself.
    undone = [line for line in came if not line.endswith(": done")]
    return Deed(after, action["kind"], "; ".join([action["reason"], *undone]))


def wrong(told: Told) -> Iterator[str]:
    """The guarantees that did not hold."""
    for fault in told.faults:
        if fault.well_after is None:
            yield f"{fault.name}: the tunnels of {told.region} were not well after {HEALED_SECONDS:.0f} s"
        if acts := [deed.kind for deed in fault.deeds if fault.name == FAR and deed.kind in _ACTS]:
            yield f"{fault.name}, the healer did something to tunnels that were whole: {', '.join(acts)}"
    if told.lost:
        yield f"{told.lost} of {told.rows} rows are not on the replica"
