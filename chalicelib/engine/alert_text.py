"""The words of a notification, for a person who wakes up for it. They say what is wrong, since when, what was tried,
and what to do. Pure.

Parts of an alert are foreign, such as what a job printed. No word of them reaches a notice but through `_sentence`,
`_paragraph` or `foreign.line`, so that they can neither forge a section nor steer a terminal.

SNS takes 100 printable characters of subject. Mail programs show the first 60.
"""

import json
import re
import shlex
from collections.abc import Iterator

from chalicelib import foreign
from chalicelib.config import durations
from chalicelib.engine.alerts import Alert, AlertGroup, Change, Notification
from chalicelib.engine.schema import State, Unreadable

# The kind of the alert about items that cannot be read.
UNREADABLE = "UnreadableItem"
# What people call on a deployment. It acts on the sandbox unless it names a stage.
_COMMAND = re.compile(r"`(lamp (?:run|status|explain|journal)\b[^`]*)`")
_PREFIX: dict[Change, str] = {"firing": "", "repeat": "Still: ", "grown": "More: ", "recovered": "Recovered: "}


class Origin(State, frozen=True):
    """The run that tells, by operation, region, stage and version."""

    operation: str
    region: str
    stage: str
    version: str

    def __str__(self) -> str:
        return f"{self.operation} in {self.region}, stage {self.stage}, Lamplighter {self.version}"

    def addressed(self, step: str) -> str:
        """`step`, with the stage and the region in each command that does not name them."""
        return _COMMAND.sub(lambda found: f"`{self._whole(found[1])}`", step)

    def _whole(self, command: str) -> str:
        given = (("stage", self.stage), ("region", self.region))
        return " ".join([command, *(f"--{name} {value}" for name, value in given if f"--{name} " not in command)])


def subject(notification: Notification) -> str:
    """`RegionUnhealthy: eu-west-1`, or with the count of a group or of all that is summed up."""
    if notification.others:
        return f"{len(notification.parts)} alerts, the first of them {_headline(notification.group)}"
    return _PREFIX[notification.change] + _headline(notification.group)


def text(notification: Notification, now: float, *, origin: Origin) -> str:
    """The whole notice."""
    if not notification.others:
        return "\n".join([*_lines(notification.change, notification.group, now, origin), "", f"From {origin}."])
    parts = notification.parts
    have_all = origin.addressed("The journal and `lamp status` have all.")
    head = [f"{len(parts)} alerts came at once, too many to send one by one. {have_all}", ""]
    for _, change, group in parts[:50]:
        head.append(f"- {_PREFIX[change]}{_headline(group)}: {_sentence(group.alert.problem)}")
    more = [f"- and {len(parts) - 50} more"] if len(parts) > 50 else []
    first = ["", "The first of them in full:", "",
             *_lines(notification.change, notification.group, now, origin)]
    return "\n".join([*head, *more, *first, "", f"From {origin}."])


def _headline(group: AlertGroup) -> str:
    first = group.names[0] if group.names else group.alert.target
    if group.count > 1:
        several = "first " if len(group.names) > 1 else ""
        return foreign.line(f"{group.alert.kind}: {group.count} x, {several}{first}")
    return foreign.line(f"{group.alert.kind}: {first}")


def _lines(change: Change, group: AlertGroup, now: float, origin: Origin) -> Iterator[str]:
    alert = group.alert
    if change == "recovered":
        yield from _paragraph("RECOVERED: this is over. ", alert.problem)
        yield f"It held from {_time(group.since)} to {_time(group.changed_at)}."
        if group.told == "unsure":
            yield "The notice of its beginning may not have reached you."
        return
    yield from _paragraph("WHAT IS WRONG: ", alert.problem)
    if group.count > 1:
        yield _concerned(group)
    yield f"SINCE: {_since(group.since, now)}."
    if group.flaps:
        yield f"It has come and gone {group.flaps} times since the last notice."
    yield from ("", "WHAT HAS BEEN TRIED:")
    yield from (f"- {_sentence(one)}" for one in alert.tried or ("Lamplighter has no means against it.",))
    yield from ("", "WHAT TO DO NOW:")
    yield from (f"{number}. {_sentence(step)}" for number, step in enumerate(
        [origin.addressed(step) for step in alert.steps or _STEPS], 1))
    yield from ("", f"READ MORE: docs/runbook.md#{foreign.line(alert.kind.lower())}")


def _concerned(group: AlertGroup) -> str:
    """The first targets. An event may have happened to one of them several times."""
    names = foreign.line(", ".join(group.names))
    if group.alert.event:
        return f"It has happened {group.count} times. The first that it happened to: {names}."
    more = f", and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
    return f"It concerns {group.count}: {names}{more}."


_STEPS = ("Look at `lamp status` and at the journal.",)


def _since(at: float, now: float) -> str:
    return f"{_time(at)} ({durations.words(max(0, int(now - at)))} ago)" if 0 <= at <= foreign.LAST_TIME else _time(at)


def _time(at: float) -> str:
    return foreign.moment(at, "%Y-%m-%d %H:%M:%S UTC")


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
        cause=f"{key.pk.split('#')[0]} in {key.store}")


def show_command(unreadable: Unreadable) -> str:
    """The command of the AWS CLI that shows the item. A shell takes whatever the key holds as one word."""
    table, _, region = unreadable.key.store.partition(" in ")
    where = f" --region {shlex.quote(region)}" if region else ""
    key = json.dumps({"pk": {"S": unreadable.key.pk}, "sk": {"S": unreadable.key.sk}}, separators=(",", ":"))
    return f"aws dynamodb get-item{where} --table-name {shlex.quote(table)} --key {shlex.quote(key)}"
