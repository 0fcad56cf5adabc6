"""The current faults of the embedded AWS, which are stopped regions, failing calls and late copies.

One `Faults` lives in the server's process. `sandbox.auth_middleware` changes it on a signed control request.
"""

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

import msgspec

THROTTLED = "throttled"
UNAVAILABLE = "unavailable"
REFUSED = "refused"
# So many finds of one caller and action are remembered.
_FOUND = 1000


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule for calls that fail, in `region` (`*` is all), of IAM action `action` (`sqs:*`, `*`), at most `times` (-1
    is always)."""

    region: str
    action: str
    kind: str = UNAVAILABLE
    times: int = -1


class Faults:
    """The faults that hold now. Safe to use from the server's threads."""

    def __init__(self) -> None:
        self.stopped: frozenset[str] = frozenset()
        self.lag = 0.0
        self._rules: list[list[Any]] = []
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._denied: Counter[tuple[str, str, str]] = Counter()
        self._found: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._needed: set[tuple[str, str, str]] = set()

    def stop(self, region: str) -> None:
        """Region `region` answers nobody from now on, and nothing runs in it."""
        with self._lock:
            self.stopped |= {region}

    def start(self, region: str) -> None:
        """Region `region` works again, with all that it had."""
        with self._lock:
            self.stopped -= {region}

    def add(self, rule: Rule) -> None:
        """Refuse the calls of `rule`."""
        with self._lock:
            self._rules.append([rule, rule.times])

    def clear(self) -> None:
        """Nothing is broken any more, except the regions that are stopped."""
        with self._lock:
            self._rules.clear()
            self.lag = 0.0

    def verdict(self, region: str, action: str) -> str:
        """The failure of this call, `throttled`, `unavailable`, `refused`, or empty for none."""
        with self._lock:
            for entry in self._rules:
                rule, left = entry
                if left and rule.region in ("*", region) and _matches(rule.action, action):
                    entry[1] -= left > 0
                    return str(rule.kind)
        return ""

    def count(
        self, principal: str, region: str, action: str, *, denied: bool, found: Collection[str] = ()
    ) -> None:
        """Remember that `principal` called `action` in `region`, which is the use of a policy as it happens.

        `found` is what the answer of a read held: `table/partition key` of items, the place of an object or a message.
        """
        with self._lock:
            self._calls[principal, region, action] += 1
            self._denied[principal, region, action] += denied
            known = self._found[principal, region, action]
            known.update(list(found)[:_FOUND - len(known)] if len(known) < _FOUND else ())

    def need(self, principal: str, sid: str, action: str) -> None:
        """Remember that `principal` could call `action` by the statement `sid` of its policies alone."""
        with self._lock:
            self._needed.add((principal, sid, action))

    def needed(self) -> list[tuple[str, str, str]]:
        """Every (principal, Sid, action) without which a call so far would have been denied."""
        with self._lock:
            return sorted(self._needed)

    def seen(self) -> list[dict[str, Any]]:
        """Every (principal, region, action) asked for so far, how often, how often not authorized, and what it found.
        """
        with self._lock:
            return [{"principal": key[0], "region": key[1], "action": key[2], "count": count,
                     "denied": self._denied[key], "found": sorted(self._found[key])}
                    for key, count in sorted(self._calls.items())]

    def forget(self) -> None:
        """Count calls from zero again."""
        with self._lock:
            self._calls.clear()
            self._denied.clear()
            self._found.clear()
            self._needed.clear()


def _matches(pattern: str, action: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE) is not None
