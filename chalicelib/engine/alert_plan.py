"""Which notifications are due, from what was told before and what holds now. Pure.

A new alert is due, a lasting one is repeated, and an ended one is reported as recovered. A notification counts as
delivered only once it was. Until then each run finds it due again.

- Alerts with the same `kind` and `cause` are one group and one notification, with a count and the first ten names.
  So are those of a kind that holds for more than `MANY` targets at once, until it holds for fewer than `FEW`.
- An `event` (something happened, such as a failed job) has no end: it is told once and has no recovery.
- A group that has doubled is told again, but not within `GROUP_SECONDS` of the last time. So N failures of one cause
  within ten minutes are at most two notifications.
- What comes and goes is told once each way, and then not again within `FLAP_SECONDS`. An alert that
  has come back by then is told once a run sees it, and not while nobody can judge it.
- Above `NOTIFICATIONS` within their window, one notification a minute sums up all others.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec
from msgspec.structs import replace

from chalicelib.engine.alerts import Alert, AlertGroup, AlertPlan, AlertState, Change, Notification
from chalicelib.engine.limits import Budget

NAMES = 10
# With more targets than this at once a kind is one group: a mass failure is not many small ones.
MANY = 20
_AT_ONCE = f"more than {MANY} at once"
# It stays one until it holds for fewer than this.
FEW = 5
GROUP_SECONDS = 600
FLAP_SECONDS = 600
# A run that has begun to publish, and did not write down what came of it, is given so long (s) to be still at it.
ATTEMPT_SECONDS = 10
NOTIFICATIONS = Budget(20, 600)
_SUMMARY_SECONDS = 60
# Of events, so many are told apart in one group; beyond that they are only counted.
_MARKS = 500
# An item holds 400 KB. With more groups than this, most of them keep only the beginning of their text.
_GROUPS = 100
_LONGEST_TEXT, _SHORT_TEXT, _LONGEST_NAME = 1000, 100, 200
# Beyond so many bytes the newest groups of a kind become one. What is left of the 400 KB is for these and new texts.
_STATE_BYTES = 300_000
# The causes of such groups, of conditions and of events.
_MORE = {False: "more of this kind", True: "more events of this kind"}


def plan_notifications(
    state: AlertState, wanted: Sequence[Alert], now: float, *, not_judged: Collection[str] = ()
) -> AlertPlan:
    """The notifications due at `now`, from the earlier ones and all current alerts.

    `not_judged` are the kinds that this run could not check ("*" is all). Their absence is no recovery.
    """
    if not wanted and not state.groups:
        return AlertPlan(state)
    known = {key: _not_ahead(group, now) for key, group in state.groups.items()}
    joined = _joined(wanted, known)
    merged, many = _merged(joined, known, not_judged)
    known = _split(known, joined, many)
    groups = _updated(known, merged, now, not_judged, frozenset(alert.group for alert in joined))
    texts = {key: group.alert for key, group in groups.items()}
    # A text that only says how long it has lasted is no reason to write. It is taken anew when it is sent.
    groups = _bounded({key: replace(group, alert=known[key].alert) if key in known else group
                       for key, group in groups.items()})
    seen = {alert.group for alert in (*merged, *joined)}
    due = [(key, change, replace(group, alert=texts.get(key, group.alert)))
           for key, group in groups.items() if (change := _due(group, now, seen=key in seen or group.alert.event))]
    # What begins comes before what lasts or ends, and among equals what began first.
    due.sort(key=lambda one: (_ORDER.index(one[1]), one[2].since, one[0]))
    notifications = _limited(due, _room(state, now))
    for notification in notifications:
        for key, _, group in notification.parts:
            groups[key] = replace(group, attempted_at=now, told=group.told or "unsure")
    if groups == state.groups:
        return AlertPlan(state)
    return AlertPlan(AlertState(_bounded(groups), NOTIFICATIONS.recent(state.sent, now)), notifications)


def settle_delivery(state: AlertState, notification: Notification, now: float, *, delivered: bool) -> AlertState:
    """The state once it is known what came of a notification. One that was not delivered is due again at once."""
    groups = dict(state.groups)
    for key, change, sent in notification.parts:
        group = groups.get(key)
        if group is None:
            continue
        if not delivered:
            groups[key] = replace(group, attempted_at=0)
        elif change == "recovered":
            groups[key] = replace(group, told="", told_at=now, told_count=0, attempted_at=0, flaps=0)
        else:
            groups[key] = replace(group, told="firing", told_at=now, told_count=sent.count, attempted_at=0, flaps=0)
    sent_times = NOTIFICATIONS.spend(state.sent, now) if delivered else state.sent
    return AlertState(groups, sent_times)


_ORDER: tuple[Change, ...] = ("firing", "grown", "recovered", "repeat")


def _joined(wanted: Sequence[Alert], known: dict[str, AlertGroup]) -> Sequence[Alert]:
    """The alerts. What is new of a kind with too many groups joins the group of all others (see `_bounded`)."""
    full = {(group.alert.kind, group.alert.event) for group in known.values()
            if group.holds and group.alert.cause in _MORE.values()}
    return [replace(alert, cause=_MORE[alert.event])
            if (alert.kind, alert.event) in full and alert.group not in known else alert for alert in wanted]


def _merged(
    wanted: Sequence[Alert], known: dict[str, AlertGroup], not_judged: Collection[str]
) -> tuple[Sequence[Alert], frozenset[str]]:
    """The alerts, with one group for each kind that holds for many targets at once. And these kinds.

    A kind of conditions that is one group stays one until it holds for few. Or else each host that recovers would be
    the news of all others.
    """
    single = {(alert.kind, alert.target) for alert in wanted if not alert.cause}
    counts = Counter(kind for kind, _ in single)
    one = {group.alert.kind for group in known.values() if _is_mass(group) and group.holds and not group.alert.event}
    many = frozenset(kind for kind, number in counts.items() if number > MANY
                     or (kind in one and (number >= FEW or not _is_judged(kind, not_judged))))
    if not many:
        return wanted, many
    merged = [replace(alert, cause=_AT_ONCE) if alert.kind in many and not alert.cause else alert for alert in wanted]
    return merged, many


def _split(known: dict[str, AlertGroup], wanted: Sequence[Alert], many: frozenset[str]) -> dict[str, AlertGroup]:
    """The groups, where a kind that was one group and now holds for few has one for each of them.

    People know of these already, if they know of the one that ends.
    """
    result = dict(known)
    for key, group in known.items():
        kind = group.alert.kind
        if not _is_mass(group) or not group.holds or group.alert.event or kind in many:
            continue
        left = [alert for alert in wanted if alert.kind == kind and not alert.cause]
        for alert in left:
            inherited = AlertGroup(_short(alert), alert.since or group.since, (_cut(alert.target, _LONGEST_NAME),), 1,
                                   changed_at=group.changed_at, told=group.told, told_at=group.told_at,
                                   told_count=int(group.told == "firing"), attempted_at=group.attempted_at)
            if alert.group not in known or not known[alert.group].holds:
                result[alert.group] = inherited
        if left:
            names = ", ".join(alert.target for alert in left)
            problem = f"A few are left: {names}. Each of them is told by itself from now on"
            result[key] = replace(group, alert=replace(group.alert, problem=_cut(problem, _LONGEST_TEXT)))
    return result


def _is_mass(group: AlertGroup) -> bool:
    return group.alert.cause == _AT_ONCE


def _is_judged(kind: str, not_judged: Collection[str]) -> bool:
    return "*" not in not_judged and kind not in not_judged


def _updated(
    known: dict[str, AlertGroup], wanted: Sequence[Alert], now: float, not_judged: Collection[str],
    unmerged: frozenset[str],
) -> dict[str, AlertGroup]:
    """The groups after this run, with new and grown ones and ended ones, without those to forget.

    `unmerged` are the groups that the alerts would have if none of them had joined another one.
    """
    members: dict[str, list[Alert]] = {}
    for alert in wanted:
        members.setdefault(alert.group, []).append(alert)
    groups: dict[str, AlertGroup] = {}
    for key, group in known.items():
        kept = group
        if key not in members and group.holds and not group.alert.event:
            # While many of a kind are one group, those that were told before as single ones are not over.
            over = _is_judged(group.alert.kind, not_judged) and key not in unmerged
            kept = replace(group, holds=False, changed_at=now) if over else group
        if not _forgotten(kept, now):
            groups[key] = kept
    for key, alerts in members.items():
        before = groups.get(key)
        group = _with_events(before, alerts, now) if alerts[0].event else _with_conditions(before, alerts, now)
        if before and before.count > group.count and not _is_judged(group.alert.kind, not_judged):
            # Who looks at one target only says nothing of the others.
            group = replace(group, names=before.names, count=before.count)
        groups[key] = group
    return groups


def _forgotten(group: AlertGroup, now: float) -> bool:
    """Whether nobody needs it any more, because people know everything and it has been quiet for long enough."""
    if group.alert.event:
        known = group.told == "firing" and group.told_count >= group.count
        return known and now - group.changed_at >= GROUP_SECONDS
    return not group.holds and not group.told and now - max(group.told_at, group.changed_at) >= FLAP_SECONDS


def _with_conditions(before: AlertGroup | None, alerts: Sequence[Alert], now: float) -> AlertGroup:
    count = len({alert.target for alert in alerts})
    names = tuple(dict.fromkeys(_cut(alert.target, _LONGEST_NAME) for alert in alerts))[:NAMES]
    since = min((alert.since for alert in alerts if alert.since), default=0.0)
    if before is None:
        return AlertGroup(_short(alerts[0]), since or now, names, count, changed_at=now)
    again = not before.holds
    # A condition that came back while people still believe in it has never been away for them.
    began = now if again and not before.told else before.since
    return replace(before, alert=_short(alerts[0]), since=since or began, names=names, count=count,
                   holds=True, changed_at=now if again else before.changed_at, flaps=before.flaps + again)


def _with_events(before: AlertGroup | None, alerts: Sequence[Alert], now: float) -> AlertGroup:
    group = before or AlertGroup(_short(alerts[0]), min(alert.since or now for alert in alerts), changed_at=now)
    names, marks, count = list(group.names), list(group.marks), group.count
    for alert in alerts:
        mark = hashlib.blake2b(f"{alert.target}\0{alert.occurrence}".encode(), digest_size=5).hexdigest()
        if mark in marks:
            continue
        count += 1
        if len(marks) < _MARKS:
            marks.append(mark)
        name = _cut(alert.target, _LONGEST_NAME)
        if len(names) < NAMES and name not in names:
            names.append(name)
    changed = now if count > group.count else group.changed_at
    return replace(group, names=tuple(names), marks=tuple(marks), count=count, changed_at=changed)


def _due(group: AlertGroup, now: float, *, seen: bool) -> Change | None:
    """The current news of the group for people, if any. `seen` means that it was seen to hold by this very run."""
    # The clocks of two Lambdas differ, so the attempt of another run may lie a little in the future.
    if group.attempted_at and abs(now - group.attempted_at) < ATTEMPT_SECONDS:
        return None
    quiet = now - group.told_at if group.told_at else float("inf")
    if not group.holds:
        return "recovered" if group.told else None
    if group.told != "firing":
        if not group.told and group.told_at and not seen:
            # It came back and waited. What it has been since then nobody knows.
            return None
        # After a recovery that was told, what comes back waits; what may have been lost does not.
        return "firing" if group.told == "unsure" or not 0 <= quiet < FLAP_SECONDS else None
    doubled = group.count >= 2 * group.told_count or quiet >= (group.alert.repeat_seconds or FLAP_SECONDS)
    if group.count > group.told_count and quiet >= GROUP_SECONDS and doubled:
        return "grown"
    repeats = group.alert.repeat_seconds and not group.alert.event
    return "repeat" if repeats and quiet >= group.alert.repeat_seconds else None


def _room(state: AlertState, now: float) -> int:
    """How many notifications may go out now. One a minute may at any rate."""
    last = max((at for at, _ in NOTIFICATIONS.recent(state.sent, now)), default=0.0)
    return max(NOTIFICATIONS.left(state.sent, now), int(now - last >= _SUMMARY_SECONDS))


def _limited(due: Sequence[tuple[str, Change, AlertGroup]], left: int) -> tuple[Notification, ...]:
    """One notification for each group, as long as there is room. The last one sums up all others.

    Without any room nothing goes out now, and all of it stays due.
    """
    if left <= 0:
        return ()
    single = due if len(due) <= left else due[:left - 1]
    notifications = [Notification(*one) for one in single]
    if rest := due[len(single):]:
        notifications.append(Notification(*rest[0], others=tuple(rest[1:])))
    return tuple(notifications)


def _bounded(groups: dict[str, AlertGroup]) -> dict[str, AlertGroup]:
    """Small enough for one item. No group is dropped, because a forgotten one that holds would be told anew.

    Of too many groups most keep only the beginning of their text. If that is not enough, the newest of a kind become
    one.
    """
    if len(groups) > _GROUPS:
        first = set(sorted(groups, key=lambda key: (groups[key].told == "firing", groups[key].since))[:_GROUPS // 2])
        groups = {key: group if key in first else
                  replace(group, alert=_short(group.alert, _SHORT_TEXT), names=group.names[:1])
                  for key, group in groups.items()}
    sizes = {key: len(msgspec.json.encode({key: group})) for key, group in groups.items()}
    size = sum(sizes.values())
    # Some room is left, so that not every run has to do it again.
    over = size - _STATE_BYTES * 4 // 5 if size > _STATE_BYTES else 0
    folded: dict[str, list[str]] = {}
    for key in sorted(groups, key=lambda key: (-groups[key].since, key)):
        alert = groups[key].alert
        if over > 0 and alert.cause != _MORE[alert.event]:
            folded.setdefault(replace(alert, cause=_MORE[alert.event]).group, []).append(key)
            over -= sizes[key]
    result = dict(groups)
    for more, keys in folded.items():
        parts = [result.pop(key) for key in reversed(keys)]
        result[more] = _one_group([result[more], *parts] if more in result else parts)
    return result


def _one_group(parts: Sequence[AlertGroup]) -> AlertGroup:
    """Several groups of one kind as one. If people do not know all of them, the whole is told."""
    told = {part.told for part in parts}
    first = parts[0].alert
    return AlertGroup(
        replace(first, cause=_MORE[first.event]), min(part.since for part in parts),
        tuple(dict.fromkeys(name for part in parts for name in part.names))[:NAMES], sum(part.count for part in parts),
        any(part.holds for part in parts),
        tuple(dict.fromkeys(mark for part in parts for mark in part.marks))[:_MARKS],
        max(part.changed_at for part in parts), told.pop() if len(told) == 1 else "unsure",
        max(part.told_at for part in parts), sum(part.told_count for part in parts),
        max(part.attempted_at for part in parts))


def _short(alert: Alert, longest: int = _LONGEST_TEXT) -> Alert:
    """An alert whose texts fit into the state, because a database's error message may have any length."""
    names = (alert.target, alert.cause, alert.occurrence)
    if max(map(len, names)) > _LONGEST_NAME:
        target, cause, occurrence = (_cut(name, _LONGEST_NAME) for name in names)
        alert = replace(alert, target=target, cause=cause, occurrence=occurrence)
    texts = (alert.problem, *alert.tried, *alert.steps)
    if sum(map(len, texts)) <= longest:
        return alert
    left = longest < _LONGEST_TEXT
    return replace(alert, problem=_cut(alert.problem, longest), tried=() if left else _cut_all(alert.tried, longest),
                   steps=() if left else _cut_all(alert.steps, longest))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + " ..."


def _cut_all(texts: tuple[str, ...], longest: int) -> tuple[str, ...]:
    return tuple(_cut(text, longest // 2) for text in texts[:NAMES])


def _not_ahead(group: AlertGroup, now: float) -> AlertGroup:
    """A group whose times are not in the future, because a clock that went backwards must not silence it."""
    if max(group.told_at, group.changed_at) <= now:
        return group
    return replace(group, told_at=min(group.told_at, now), changed_at=min(group.changed_at, now))
