"""The actions of a controller of tunnels, as its journal has them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec


class Deed(msgspec.Struct, frozen=True):
    """One thing that the controller did, `after` so many seconds from the fault, and why, in its journal's words."""

    after: int
    kind: str
    why: str


def deeds(entries: Iterable[Mapping[str, Any]], since: float) -> list[Deed]:
    """The controller's actions since the fault began, by the journal's entries, oldest first.

    An entry's time is its round's, a whole second.
    """
    made = []
    for entry in entries:
        at = datetime.fromisoformat(entry["at"]).timestamp()
        if at >= int(since):
            made += [_deed(round(max(0.0, at - since)), action, entry.get("results", ()))
                     for action in entry.get("actions", ())]
    return sorted(made, key=lambda deed: deed.after)


def _deed(after: int, action: Mapping[str, Any], results: Iterable[str]) -> Deed:
    came = [line for line in results if line.startswith(f"{action['target']}: {action['kind']} of ")]
    # What was not done after all says so itself.
    return Deed(after, action["kind"], "; ".join([action["reason"], *(
        line for line in came if not line.endswith(": done"))]))
