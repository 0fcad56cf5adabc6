"""The words of a notification, for a person who wakes up for it. They say what is wrong, since when, what was tried,
and what to do. Pure.

Parts of an alert are foreign, such as what a job printed. No word of them reaches a notice but through `_sentence`,
`_paragraph` or `foreign.line`, so that they can neither forge a section nor steer a terminal.

SNS takes 100 printable characters of subject. Mail programs show the first 60.
"""

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

from chalicelib import foreign
from chalicelib.config import durations
from chalicelib.engine.alerts import Alert, AlertGroup, Change, Notification
from chalicelib.engine.schema import Unreadable

# The kind of the alert about items that cannot be read.
UNREADABLE = "UnreadableItem"
# The end of the year 9999, the last one that a `datetime` can have.
_LAST_TIME = 253_402_300_799.0
_PREFIX: dict[Change, str] = {"firing": "", "repeat": "Still: ", "grown": "More: ", "recovered": "Recovered: "}


def subject(notification: Notification) -> str:
    """`RegionUnhealthy: eu-west-1`, or with the count of a group or of all that is summed up."""
    if notification.others:
        return f"{len(notification.parts)} alerts, the first of them {_headline(notification.group)}"
    return _PREFIX[notification.change] + _headline(notification.group)


def text(notification: Notification, now: float, *, origin: str) -> str:
    """The whole notice. `origin` is the origin, such as `tunnels.repair in eu-west-1`."""
    if not notification.others:
        return "\n".join([*_lines(notification.change, notification.group, now), "", f"From {origin}."])
    parts = notification.parts
    head = [f"{len(parts)} alerts came at once, too many to send one by one. The journal and `lamp status` have all.",
            ""]
    for _, change, group in parts[:50]:
        head.append(f"- {_PREFIX[change]}{_headline(group)}: {_sentence(group.alert.problem)}")
    more = [f"- and {len(parts) - 50} more"] if len(parts) > 50 else []
    first = ["", "The first of them in full:", "", *_lines(notification.change, notification.group, now)]
    return "\n".join([*head, *more, *first, "", f"From {origin}."])


def _headline(group: AlertGroup) -> str:
    if group.count > 1:
        return foreign.line(f"{group.alert.kind}: {group.count} x {group.alert.cause or group.alert.target}")
    return foreign.line(f"{group.alert.kind}: {group.names[0] if group.names else group.alert.target}")


def _lines(change: Change, group: AlertGroup, now: float) -> Iterator[str]:
    alert = group.alert
    if change == "recovered":
        yield from _paragraph("RECOVERED: this is over. ", alert.problem)
        yield f"It held from {_time(group.since)} to {_time(group.changed_at)}."
        if group.told == "unsure":
            yield "The notice of its beginning may not have reached you."
        return
    yield from _paragraph("WHAT IS WRONG: ", alert.problem)
    if group.count > 1:
        more = f", and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
        yield f"It concerns {group.count}: {foreign.line(', '.join(group.names))}{more}."
    yield f"SINCE: {_since(group.since, now)}."
    if group.flaps:
        yield f"It has come and gone {group.flaps} times since the last notice."
    yield from ("", "WHAT HAS BEEN TRIED:")
    yield from (f"- {_sentence(one)}" for one in alert.tried or ("Lamplighter has no means against it.",))
    yield from ("", "WHAT TO DO NOW:")
    yield from (f"{number}. {_sentence(step)}" for number, step in enumerate(alert.steps or _STEPS, 1))
    if alert.read_more:
        yield from ("", f"READ MORE: {foreign.line(alert.read_more)}")


_STEPS = ("Look at `lamp status` and at the journal.",)


def _since(at: float, now: float) -> str:
    return f"{_time(at)} ({durations.words(max(0, int(now - at)))} ago)" if 0 <= at <= _LAST_TIME else _time(at)


def _time(at: float) -> str:
    """A stored time, which may be no time at all, for example when somebody has written milliseconds."""
    if not 0 <= at <= _LAST_TIME:
        return f"an unknown time (the record has {at:g})"
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _paragraph(heading: str, words: str) -> Iterator[str]:
    """The first line as a sentence behind its heading, and any others behind a margin."""
    first, _, rest = words.strip().partition("\n")
    yield heading + _sentence(first)
    yield from foreign.lines(rest)


def _sentence(words: str) -> str:
    words = foreign.line(words).strip()
    return words if words.endswith((".", "!", "?", "`", ":")) or not words else f"{words}."


def unreadable_alert(unreadable: Unreadable) -> Alert:
    """The alert about an item that cannot be read. Many of one kind in one table are one notification."""
    key = unreadable.key
    return Alert(
        UNREADABLE, f"{key.pk}/{key.sk}",
        f"Lamplighter cannot read the item {key} ({unreadable.because}). It leaves alone what the item stands for.",
        tried=("The run has read all other items and acted on them.",),
        steps=(f"Look at it with {show_command(unreadable)}",
               "If a newer release wrote it, deploy that release again.",
               "If nobody needs it, delete it. The next run begins anew without it."),
        read_more="docs/runbook.md#unreadableitem", cause=f"{key.pk.split('#')[0]} in {key.store}")


def show_command(unreadable: Unreadable) -> str:
    """The command of the AWS CLI that shows the item. A shell takes whatever the key holds as one word."""
    table, _, region = unreadable.key.store.partition(" in ")
    where = f" --region {shlex.quote(region)}" if region else ""
    key = json.dumps({"pk": {"S": unreadable.key.pk}, "sk": {"S": unreadable.key.sk}}, separators=(",", ":"))
    return f"aws dynamodb get-item{where} --table-name {shlex.quote(table)} --key {shlex.quote(key)}"
