"""The forbidden events of a region's tunnels, whatever happens to the controller.

The checker shares no code with the product. It sees the true world, what each process was shown, every request at the
moment when AWS gets it, every notice, and the state item as JSON. A controller learns of a change some seconds after it
happened, and AWS does some seconds later what it is asked for. So an action counts as harm only if what makes it
harmful is older than that (`_UNKNOWN`, `_PEER`).
"""

import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import msgspec

from simulation.tunnels.region import Host, SimulatedRegion

# From a change to the last action that may not know of it: an action may be done 10 s after the round that it comes
# from, and takes up to 1.5 s; a peer's report may be 10 s old, by clocks that differ by up to 2 s.
_UNKNOWN, _PEER = 13, 25
# Clocks differ by this much from true time.
_SKEW = 1.01
# So soon after the primary's return nobody can know that a tunnel does not come back by itself.
_JUST_BACK = 3
_OUT_SECONDS, _OUT_ROUNDS, _LEAK_ROUNDS, _WELL_ROUNDS = 1020, 500, 150, 8
_WINDOW, _MOST, _HOUR, _MOST_REPLACED = 600 - 2 * _SKEW - 11, 4, 3600 - 2 * _SKEW - 11, 3
_COOL_FIRST, _COOL_MOST, _FORGOTTEN = 60, 1800, 1800
_REPLACES = ("replace", "stop")
_REPAIRS = ("restart", *_REPLACES)
# Since when a member is out of which people know.
_KNOWN = float("inf")
# From a promotion to the moment when every round knows of it, and for how many rounds a host may then go elsewhere.
_MOVED, _ASTRAY_ROUNDS, _TRIES = 45, 60, 2
_TOLD_AGAIN = 580
# For so long nothing has been up when it is told, and for so long after that it is not told again.
_ALL_DOWN, _MUTED = 45, 600


class SimulationResult(msgspec.Struct, frozen=True):
    """The results of one timeline. `harm` must be empty. `seconds_out` is how long members were out of service in all.
    """

    seed: int
    harm: tuple[str, ...]
    actions: dict[str, int]
    alerts: dict[str, int]
    crashes: int
    rounds: int
    faults: int
    repaired: int
    seconds_out: float


class Shown:
    """The last observation of one process of the product, with its true time, the probes of each host, and the time
    since nothing had been up. `manual` marks a person's request. The same request, sent twice, has the same mark."""

    def __init__(self, manual: str = "") -> None:
        self.manual, self.at, self.nothing_up_since = manual, 0.0, 0.0
        self.probed: dict[str, float] = {}


class Snapshot(msgspec.Struct):
    """A member as the world has it: out of service since, for so many rounds; serving but not registered for so many.
    """

    out: float = 0
    rounds: int = 0
    leaked: int = 0
    served: int = 0
    cool: int = 0
    cooled: float = 0
    healthy: float = 0


class Checker:
    """Counts, and writes down all harm that begins with one of `only`."""

    def __init__(self, region: SimulatedRegion, mode: str, only: tuple[str, ...] = ("",)) -> None:
        self.region, self.mode, self._only = region, mode, only
        self.harm: list[str] = []
        self.actions: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.repaired, self.rounds, self.seconds_out = 0, 0, 0.0
        self.state: Mapping[str, Any] = {}
        self.previous: Mapping[str, Any] = {}
        self._writer: Shown | None = None
        self._written = self._nothing_up_since = self._last = 0.0
        self._once: set[str] = set()
        self._repairs: deque[float] = deque()
        self._replaced: deque[float] = deque()
        self._members: dict[str, Snapshot] = {}
        self._astray: Counter[str] = Counter()
        self._delivered: dict[str, float] = {}
        self._nothing_up_told = self._fenced_told = False
        self._nothing_up_told_at = 0.0
        self.looked_for: str | None = None
        self._brief: tuple[float, float] = (0.0, 0.0)

    def wrong(self, what: str) -> None:
        """Harm was done. The timeline ends with it if it is the one that is looked for."""
        if len(self.harm) < 20 and what.startswith(self._only):
            self.harm.append(f"{self.region.now:.1f}: {what}")
            if self.looked_for is not None and self.looked_for in what:
                self.region.scheduler.stop()

    def brief(self, seconds: float) -> None:
        """Several fail at once, for so long (0 ends it), while all others are well."""
        self._brief = (self.region.now, self.region.now + seconds)

    # What the product is shown, and what it asks AWS for.

    def shown(self, shown: Shown, answers: Mapping[str, tuple[str, float]]) -> None:
        """A process is given these probes' answers: side and true time, by host."""
        now = self.region.now
        shown.at, shown.probed = now, {id: at for id, (_, at) in answers.items()}
        recent = [side for side, at in answers.values() if now - at <= 10]
        if "up" in recent:
            self._nothing_up_since = 0.0
        elif recent and not self._nothing_up_since:
            self._nothing_up_since = now
        shown.nothing_up_since = self._nothing_up_since

    def requested(self, shown: Shown, kind: str, instance: str, key: str) -> None:
        """AWS is asked for one action. `key` is what the request says of itself."""
        now, who = self.region.now, f"{kind} of {instance}"
        self.actions[kind] += 1
        if shown.manual:
            self.brief(0)
            # To take one out, or let it in, that is just on its way there does no harm.
            key = key or (f"{shown.manual}/{kind}/{instance}" if kind in _REPAIRS else "")
        if key and key in self._once:
            self.wrong(f"twice: {key}")
        self._once.add(key)
        probed = min(shown.at, shown.probed.get(instance, shown.at))
        # Where the primary is the coordination table says, and who asks by hand has looked; probes may be older.
        told = shown.manual or kind == "repoint" or self._primary_moved(instance)
        if now - shown.at > 10 + 2 * _SKEW or (not told and shown.at - probed > 10 + 2 * _SKEW):
            self.wrong(f"{who} on stale data: seen {now - shown.at:.0f} s ago, probed {now - probed:.0f} s ago")
        if self._writer is not shown and now - self._written > 1:
            self.wrong(f"{who} though a later round has decided {now - self._written:.1f} s ago")
        if not shown.manual and (self.mode == "observe" or (
                self.mode == "drain" and kind not in ("drain", "undrain"))):
            self.wrong(f"{who} in mode {self.mode}")
        if kind in _REPAIRS:
            self._repair(shown, kind, instance, min(probed, shown.at))
        if kind != "undrain" and not shown.nothing_up_since and self._brief[0] <= shown.at < min(
                self._brief[1], self._brief[0] + 50):
            self.wrong(f"{who} while several fail for a moment")

    def _primary_moved(self, instance: str) -> bool:
        host, primary = self.region.hosts.get(instance), self.region.primary
        return primary.fenced or self.region.now - primary.moved_at < _MOVED or (
            host is not None and host.region != primary.region)

    def _repair(self, shown: Shown, kind: str, instance: str, probed: float) -> None:
        region, now, who = self.region, self.region.now, f"{kind} of {instance}"
        primary, host, dark = region.primary, region.hosts.get(instance), shown.nothing_up_since
        if shown.manual and host and host.region != primary.region:
            pass  # people know whether it can ever be connected there
        elif not primary.up and now - primary.down_since > _PEER:
            self.wrong(f"{who} {now - primary.down_since:.0f} s after the primary went down")
        if dark and not primary.up and primary.down_since <= min(dark, shown.at):
            self.wrong(f"{who} though the primary went down before the last tunnel did")
        if primary.up and primary.down_for > 60 and primary.up_since < shown.at < primary.up_since + _JUST_BACK:
            self.wrong(f"{who} {shown.at - primary.up_since:.0f} s after the primary came back")
        works = host and host.region == primary.region and region.probe(host) == ("far", "blocked")
        if host and works and max(host.broke_at, host.ready_at) < probed and not any(
                self._served(one) or region.probe(one)[0] == "up" for one in region.hosts.values()):
            self.wrong(f"{who}, whose tunnel works, while nothing answers")
        self._spend(self._repairs, now, _WINDOW, _MOST, who)
        if kind in _REPLACES:
            self._spend(self._replaced, now, _HOUR, _MOST_REPLACED, who)

    def _spend(self, spent: deque[float], now: float, window: float, most: int, who: str) -> None:
        spent.append(now)
        if sum(now - when < window for when in spent) > most:
            self.wrong(f"{who} is more than {most} within {window:.0f} s")

    def deregistered(self, host: Host) -> None:
        """The balancer has just released `host`. Another one must be there, or have been until a moment ago.

        Not while there is a promotion, and not of what goes to a primary that is over, or has done so until just now,
        or has not said yet where it goes since the primary has moved.
        """
        region, primary = self.region, self.region.primary
        silent = primary.moved_at > 0 and not region.serves(host) and region.now < host.boots_at + _UNKNOWN
        if primary.fenced or region.now - primary.moved_at < _MOVED or silent or (
                host.region != primary.region or region.now - host.connected_at < _UNKNOWN):
            return
        others = (one for one in region.hosts.values() if one is not host and self._served(one))
        if not any(region.in_service(one) or region.now - one.drained_at < _UNKNOWN for one in others):
            self.wrong(f"drain of {host.id}, and nothing else serves")

    def _served(self, host: Host) -> bool:
        return self.region.serves(host) or self.region.now - host.served_until < _UNKNOWN

    # The state, at the moment when it is in the table.

    def state_written(self, shown: Shown, after: Mapping[str, Any]) -> None:
        """One repair in flight, cooldowns kept. Members that are out of service too long without an alert. What is not
        let in?"""
        before, self.state = self.state, after
        self.previous = before or after
        self._writer, self._written = shown, self.region.now
        if before:
            self._transitions(before["members"], after["members"], after["at"])
        self._round(after)

    def alerts_written(self, body: Mapping[str, Any]) -> None:
        """The delivered alerts have changed."""
        known = {key for key, group in body["groups"].items() if group.get("told") == "firing"}
        self._delivered = {key: self._delivered.get(key, self.region.now) for key in known}

    def _transitions(self, before: list[Any], after: list[Any], now: float) -> None:
        flying = [member["name"] for member in after if member["phase"] in ("restarting", "verifying") or (
            member["replacement_count"] and member["phase"] in ("replacing", "joining")
            and now - member["repair_started_at"] < 600 - 2 * _SKEW)]
        if len(flying) > 1:
            self.wrong(f"repairs of members {flying} overlap")
        old = {member["name"]: member for member in before}
        for member in after:
            name, was = member["name"], old.get(member["name"])
            if was is None:
                continue
            seen = self._members.setdefault(name, Snapshot())
            replaced = member["replacement_count"] > was["replacement_count"] and not member["drained_manually"]
            if replaced and was["wrong_primary_since"] and was["repoint_attempts"] < _TRIES:
                self.wrong(f"member {name} gets a replacement before {_TRIES} repoints")
            repairs = member["restart_count"] + member["replacement_count"]
            repaired = was["restart_count"] + was["replacement_count"]
            if repairs == 1 and not repaired and now < seen.cooled - 2 * _SKEW:
                self.wrong(f"a repair of member {name} begins {seen.cooled - now:.0f} s before it has cooled down")
            if was["phase"] == "healthy" != member["phase"] and now - seen.healthy > _FORGOTTEN - 2 * _SKEW:
                seen.cool = 0
            if member["phase"] == "healthy" != was["phase"]:
                seen.healthy = now
                if repaired:
                    self.repaired += 1
                    seen.cool = min(_COOL_MOST, max(_COOL_FIRST, 2 * seen.cool))
                    seen.cooled = now + seen.cool

    # People, and what they are not told.

    def told(self, shown: Shown, subject: str, text: str) -> None:
        """A notice went out. A run that looked before the last delivery was recorded cannot know of it."""
        change = next((one for one in ("Still: ", "More: ", "Recovered: ") if subject.startswith(one)), "")
        kind, _, target = subject.removeprefix(change).partition(": ")
        now, group = self.region.now, f"{kind}//{target}"
        self.alerts[change + kind] += 1
        if not change and max(now - _TOLD_AGAIN, 0) < self._delivered.get(group, 0.0) < shown.at:
            self.wrong(f"{group} goes out again after {now - self._delivered[group]:.0f} s")
        if change == "Recovered: ":
            return
        if kind == "PrimaryUnreachable":
            self._nothing_up_told, self._nothing_up_told_at = True, now
        if kind == "TunnelsDrainedPrimaryFenced":
            self._fenced_told = True
        for member in re.findall(r"member (\d)", text) if kind == "TunnelsOnWrongPrimary" else ():
            self._members.setdefault(member, Snapshot()).out = _KNOWN
        name = target.removeprefix("member ")
        if name in self._members:
            # People know: the clock stands still until the member has been in service.
            self._members[name].out = _KNOWN

    def _round(self, state: Mapping[str, Any]) -> None:
        now, region = self.region.now, self.region
        self.rounds += 1
        if now - self._last < 1.5:
            return
        self._last = now
        primary = region.primary
        if any(member["streak"] and now - member["streak"]["at"] < _UNKNOWN for member in state["members"]):
            self._strays(now)
        # A promotion that the product has not heard of takes nothing out of service, as far as it can know.
        unsettled = primary.fenced or now - primary.moved_at < _MOVED
        # Once people know that nothing is up, or that all are out, no member's own clock runs until that is over.
        self._nothing_up_told = self._nothing_up_told and state["all_down_since"] > 0
        self._fenced_told = self._fenced_told and state["fenced_primary"] != ""
        # An outage so soon after another one is known by the notice of that one, which does not go out twice.
        lasts = state["all_down_since"] > 0 and now - state["all_down_since"] > _ALL_DOWN
        known = self._nothing_up_told or self._fenced_told or (lasts and now < self._nothing_up_told_at + _MUTED)
        for member in state["members"]:
            seen = self._members.setdefault(member["name"], Snapshot())
            if known and seen.out < _KNOWN:
                seen.out, seen.rounds = now, 0
            host = region.hosts.get(member["instance"])
            serves = host is not None and (region.serves(host) or (unsettled and region.probe(host)[0] == "up"))
            inside = host is not None and region.registered(host)
            seen.leaked = seen.leaked + 1 if serves and not inside and not member["drained_manually"] else 0
            if seen.leaked == _LEAK_ROUNDS and self.mode != "observe":
                self.wrong(f"member {member['name']} ({member['phase']}) is healthy and not let in")
            looked = member["streak"] is not None and now - member["streak"]["at"] < _UNKNOWN
            used = serves and host is not None and region.in_service(host)
            seen.served = seen.served + looked if used else 0
            if used:
                # What people know of is news again once it has been well for some time.
                again = seen.out < _KNOWN or (seen.served > _WELL_ROUNDS and not member["drained_manually"])
                seen.out = 0.0 if again else seen.out
                seen.rounds = 0
                continue
            seen.out, seen.rounds = seen.out or now, seen.rounds + 1
            self.seconds_out += 2
            if now - seen.out > _OUT_SECONDS and seen.rounds > _OUT_ROUNDS:
                who = f"member {member['name']} ({member['phase']})"
                self.wrong(f"{who} is out since {seen.out:.0f} and no alert went out")
                seen.out = _KNOWN

    def _strays(self, now: float) -> None:
        """Who is in the balancer, a member or not, and goes to a primary that is over, for how many rounds?"""
        primary = self.region.primary
        for host in self.region.hosts.values():
            stray = self.region.registered(host) and host.region != primary.region and now > max(
                primary.moved_at + _MOVED, host.boots_at)
            self._astray[host.id] = self._astray[host.id] + 1 if stray else 0
            if self._astray[host.id] == _ASTRAY_ROUNDS and self.mode != "observe":
                self.wrong(f"{host.id} is in the balancer and goes to a primary that is over")
