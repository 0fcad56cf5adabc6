"""The alerts for people, as values. Pure.

A decision names the alerts that hold now, every time that it runs. It remembers nothing of what was told. The engine
keeps one `AlertState` for each operation and compares (`alert_plan.py`). `alert_text.py` words what is due, and
`delivery.py` carries it out.

    Alert("TunnelDown", "slot a", "no tunnel of slot a answers", since=slot.out_of_service_since,
          steps=("Look at `lamp run tunnels.status`.",))

Alerts with the same `kind` and `cause` are one group and one notification, with a count and the first ten names.
"""

import hashlib
from typing import Literal

import msgspec
from msgspec.structs import replace

from chalicelib.engine.limits import Spent
from chalicelib.engine.schema import Schema, State

Change = Literal["firing", "repeat", "grown", "recovered"]


class Alert(State, frozen=True, omit_defaults=True):
    """Something that people have to know. The texts are whole sentences of plain English.

    `target` is what it is about. `cause` groups alerts of one kind ("AccessDenied"). Without one each target is a group
    of its own. `since` is epoch seconds, 0 if it is not known. `tried` is what Lamplighter has done about it, `steps`
    what to do now. With `repeat_seconds` 0 it is not repeated. `occurrence` keeps events of one target apart, as a slot
    does.
    """

    kind: str
    target: str
    problem: str
    since: float = 0
    tried: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    cause: str = ""
    event: bool = False
    repeat_seconds: int = 3600
    occurrence: str = ""

    @property
    def group(self) -> str:
        """The key of its group."""
        return short_key(f"{self.kind}/{self.cause}" if self.cause else f"{self.kind}//{self.target}", 300)


def hourly(alert: Alert, now: float) -> Alert:
    """`alert` as an event, of which people hear once an hour. Its run tells of it each time, and remembers nothing."""
    return replace(alert, event=True, since=alert.since or now, occurrence=str(int(now // 3600)))


class AlertGroup(State, frozen=True, omit_defaults=True):
    """The state of the alerts of one cause, and of their notifications.

    `alert` is its first one, for the text. `names` are the first ten targets of `count`. `marks` tell events apart.
    `told` is the last known message to people. It is nothing, that the alert holds (`firing`), or `unsure` while a
    notification may have been lost. `told_count` is the count that they know. `attempted_at` is when a run began to
    publish.
    """

    alert: Alert
    since: float
    names: tuple[str, ...] = ()
    count: int = 0
    holds: bool = True
    marks: tuple[str, ...] = ()
    changed_at: float = 0
    told: Literal["", "unsure", "firing"] = ""
    told_at: float = 0
    told_count: int = 0
    attempted_at: float = 0
    flaps: int = 0


class AlertState(State, frozen=True):
    """All groups of one operation by key, and when notifications went out."""

    groups: dict[str, AlertGroup] = msgspec.field(default_factory=dict)
    sent: Spent = ()


SCHEMA = Schema(AlertState, 1)


class Notification(State, frozen=True):
    """One due notice, with the changes of its group. `others` are groups that it sums up."""

    key: str
    change: Change
    group: AlertGroup
    others: tuple[tuple[str, Change, AlertGroup], ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, Change, AlertGroup], ...]:
        """Every group that people know of once this is delivered."""
        return ((self.key, self.change, self.group), *self.others)


class AlertPlan(State, frozen=True):
    """The state to write first, then the notifications to publish."""

    state: AlertState
    notifications: tuple[Notification, ...] = ()


def short_key(text: str, longest: int) -> str:
    """`text` if it has at most so many bytes, else its beginning with a digest of the whole."""
    raw = text.encode(errors="replace")
    if len(raw) <= longest:
        return text
    digest = hashlib.blake2b(raw, digest_size=8).hexdigest()
    return f"{raw[:longest - 17].decode(errors='ignore')}#{digest}"
