"""The forbidden events of a region's tunnels, whatever happens to the controller. It sees the true world.

A controller learns of a change some seconds later, and AWS carries out a call some seconds later. So an action counts
as harm only if its cause is older than that (`_UNKNOWN`, `_CANARY`).
"""

import re
from collections import Counter, deque

import msgspec

from chalicelib.tunnels.decide.manual import BY_HAND
from chalicelib.tunnels.state import Alert, RepairAction, TunnelState
from sandbox.simulation.tunnel_hosts import Host, SimulatedRegion

# From a change to the last act that may not know of it: an act may be done 10 s after the round that it comes from, and
# takes up to 1.5 s; a canary may be 10 s old, by clocks that differ by up to 2 s.
_UNKNOWN, _CANARY = 13, 25
# Clocks differ by this much from true time.
_SKEW = 1.01
# So soon after the far side's return nobody can know that a tunnel does not come back by itself.
_JUST_BACK = 3
_OUT_SECONDS, _OUT_ROUNDS, _LEAK_ROUNDS, _WELL_ROUNDS = 1020, 500, 150, 8
_WINDOW, _MOST, _HOUR, _MOST_REPLACED = 600 - 2 * _SKEW, 4, 3600 - 2 * _SKEW, 3
_COOL_FIRST, _COOL_MOST, _FORGOTTEN = 60, 1800, 1800
_HEALS = ("restart", "replace")
# Since when a slot is out of which people know.
_KNOWN = float("inf")
# From a promotion to the moment when every round knows of it, and for how many rounds a host may then lead elsewhere.
_MOVED, _ASTRAY_ROUNDS, _TRIES = 45, 60, 2
# How the reasons of acts begin that a promotion brings.
MOVED = "the master "


class SimulationResult(msgspec.Struct, frozen=True):
    """The results of one timeline. `harm` must be empty. `seconds_out` is how long slots were out of service in all."""

    seed: int
    harm: tuple[str, ...]
    acts: dict[str, int]
    pages: dict[str, int]
    crashes: int
    rounds: int
    troubles: int
    healed: int
    seconds_out: float


class Snapshot(msgspec.Struct):
    """The true state of a member, out of service since, for so many rounds, or serving but not registered for so many.
    """

    out: float = 0
    rounds: int = 0
    leaked: int = 0
    served: int = 0
    cool: int = 0
    cooled: float = 0
    healthy: float = 0


class Checker:
    """Counts, and writes down all harm."""

    def __init__(self, street: SimulatedRegion, mode: str, slots: int) -> None:
        self.street, self.mode, self.slots = street, mode, slots
        self.harm: list[str] = []
        self.acts: Counter[str] = Counter()
        self.pages: Counter[str] = Counter()
        self.healed, self.rounds, self.seconds_out = 0, 0, 0.0
        self.calm_since = 0.0
        self._keys: set[str] = set()
        self._heals: deque[float] = deque()
        self._replaced: deque[float] = deque()
        self._sights: dict[str, Snapshot] = {}
        self._astray: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._dark, self._last = False, 0.0
        self._blip: tuple[float, float] = (0.0, 0.0)

    def wrong(self, what: str) -> None:
        """Harm was done."""
        if len(self.harm) < 20:
            self.harm.append(f"{self.street.now:.1f}: {what}")

    # Acts, at the moment when AWS is called.

    def called(self, act: RepairAction, skew: float, probed: float, dark: float, overtaken: float) -> None:
        """By a clock that is off by `skew`, the action's member was last `probed` then, and nothing was up since `dark`
        (0 means something was). `overtaken` is how long another round has been in the table (0 is never)."""
        now, seen, streak, who = self.street.now, act.at - skew, probed - skew, f"{act.kind} of {act.instance}"
        self.acts[act.kind] += 1
        if act.key in self._keys:
            self.wrong(f"twice: {act.key}")
        self._keys.add(act.key)
        if now - seen > 10 + _SKEW or seen - streak > 10 + _SKEW:
            self.wrong(f"{who} on stale data: seen {now - seen:.0f} s ago, probed {now - streak:.0f} s ago")
        if overtaken > 1:
            self.wrong(f"{who} though a later round has decided {overtaken:.1f} s ago")
        by_hand = act.reason == BY_HAND
        if not by_hand and (self.mode == "observe" or (self.mode == "drain" and act.kind not in ("drain", "undrain"))):
            self.wrong(f"{who} in mode {self.mode}")
        if act.kind in _HEALS:
            self._heal(act, min(seen, streak), seen, dark and dark - skew, who)
        if act.kind != "undrain" and not dark and self._blip[0] <= seen < min(self._blip[1], self._blip[0] + 50):
            self.wrong(f"{who} while several fail for a moment")

    def _heal(self, act: RepairAction, probed: float, seen: float, dark: float, who: str) -> None:
        street, now = self.street, self.street.now
        far, host = street.far, street.hosts.get(act.instance)
        if act.reason == BY_HAND and host and host.leads != far.master:
            pass  # people know whether it can ever be led there
        elif not far.up and now - far.down_since > _CANARY:
            self.wrong(f"{who} {now - far.down_since:.0f} s after the far side went down")
        if dark and not far.up and far.down_since <= min(dark, seen):
            self.wrong(f"{who} though the far side went down before the last tunnel did")
        if far.up and far.lasted > 60 and far.up_since < seen < far.up_since + _JUST_BACK:
            self.wrong(f"{who} {seen - far.up_since:.0f} s after the far side came back")
        works = host and host.leads == far.master and street.side(host) == ("far", "blocked")
        if host and works and max(host.broke, host.ready) < probed and not any(
                self._served(one) or street.side(one)[0] == "up" for one in street.hosts.values()):
            self.wrong(f"{who}, whose tunnel works, while nothing answers")
        self._spend(self._heals, seen, _WINDOW, _MOST, who)
        if act.kind == "replace":
            self._spend(self._replaced, seen, _HOUR, _MOST_REPLACED, who)

    def _spend(self, spent: deque[float], seen: float, window: float, most: int, who: str) -> None:
        spent.append(seen)
        if sum(seen - when < window for when in spent) > most:
            self.wrong(f"{who} is more than {most} within {window:.0f} s")

    def drained(self, host: Host, act: RepairAction) -> None:
        """The balancer has just released `host`. Another one must be there, or have been until a moment ago.

        Not while there is a promotion, and not of what leads to a primary that is over, or has done so until just now.
        """
        street, far = self.street, self.street.far
        if far.fenced or street.now - far.moved < _MOVED or (act.reason.startswith(MOVED) and (
                street.now - host.led < _UNKNOWN or not street.serves(host))):
            return
        others = (one for one in self.street.hosts.values() if one is not host and self._served(one))
        if not any(one.target == "registered" or self.street.now - one.left < _UNKNOWN for one in others):
            self.wrong(f"drain of {host.id}, and nothing else serves")

    def _served(self, host: Host) -> bool:
        return self.street.serves(host) or self.street.now - host.lost < _UNKNOWN

    # Memories, at the moment when they are in the table.

    def remembered(self, before: TunnelState, after: TunnelState) -> None:
        """One heal in flight, and cool-downs kept."""
        now = after.at
        flying = [
            slot.name
            for slot in after.slots
            if slot.phase in ("restarting", "verifying")
            or (
                slot.replacement_count
                and slot.phase in ("replacing", "joining")
                and now - slot.repair_started_at < 600 - 2 * _SKEW
            )
        ]
        if len(flying) > 1:
            self.wrong(f"slots {flying} are healed at the same time")
        old = {slot.name: slot for slot in before.slots}
        for slot in after.slots:
            was, sight = old.get(slot.name), self._sights.setdefault(slot.name, Snapshot())
            if was is None:
                continue
            if (
                slot.replacement_count > was.replacement_count
                and was.wrong_primary_since
                and was.repoint_attempts < _TRIES
                and not slot.drained_manually
            ):
                self.wrong(f"slot {slot.name} is replaced and was not led to the master {_TRIES} times")
            heals, healed = slot.restart_count + slot.replacement_count, was.restart_count + was.replacement_count
            if heals == 1 and not healed and now < sight.cooled - 2 * _SKEW:
                self.wrong(f"slot {slot.name} is healed {sight.cooled - now:.0f} s before it has cooled down")
            if was.phase == "healthy" != slot.phase and now - sight.healthy > _FORGOTTEN - 2 * _SKEW:
                sight.cool = 0
            if slot.phase == "healthy" != was.phase:
                sight.healthy = now
                if healed:
                    self.healed += 1
                    sight.cool = min(_COOL_MOST, max(_COOL_FIRST, 2 * sight.cool))
                    sight.cooled = now + sight.cool

    # People, and what they are not told.

    def told(self, page: Alert, sure: bool) -> None:
        """A page went out. `sure` if the controller knows."""
        now = self.street.now
        self.pages[page.kind] += 1
        if now - self._told.get(page.key, -9999.0) < 580:
            self.wrong(f"{page.key} is told again after {now - self._told[page.key]:.0f} s")
        if page.kind == "PrimaryUnreachable":
            self._dark = True
        for name in re.findall(r"slot (\d)", page.text) if page.kind == "TunnelsOnWrongPrimary" else ():
            self._sights.setdefault(name, Snapshot()).out = _KNOWN
        name = page.name.removeprefix("slot ")
        if name in self._sights:
            # People know: the clock stands still until the slot has been in service.
            self._sights[name].out = _KNOWN
        if sure:
            self._told[page.key] = now

    def round(self, memory: TunnelState) -> None:
        """At the end of a round, members that are out of service too long without an alert, or healthy outside of the
        balancer."""
        now, hosts = self.street.now, self.street.hosts
        self.rounds += 1
        if now - self._last < 1.5:
            return
        self._last = now
        if any(slot.streak and now - slot.streak.at < _UNKNOWN for slot in memory.slots):
            self._strays(now)
        # A promotion that the healer has not heard of takes nothing out of service, as far as it can know.
        unsettled = self.street.far.fenced or now - self.street.far.moved < _MOVED
        # Once people know that nothing is up, no slot's own clock runs until something is seen that is.
        self._dark = self._dark and memory.all_down_since > 0
        for slot in memory.slots:
            sight = self._sights.setdefault(slot.name, Snapshot())
            if self._dark and sight.out < _KNOWN:
                sight.out, sight.rounds = now, 0
            host = hosts.get(slot.instance)
            serves = host is not None and (self.street.serves(host) or (
                unsettled and self.street.side(host)[0] == "up"))
            inside = host is not None and host.target == "registered"
            sight.leaked = sight.leaked + 1 if serves and not inside and not slot.drained_manually else 0
            if sight.leaked == _LEAK_ROUNDS and self.mode != "observe":
                self.wrong(f"slot {slot.name} ({slot.phase}) is healthy and not let in")
            looked = slot.streak is not None and now - slot.streak.at < _UNKNOWN
            sight.served = sight.served + looked if serves and inside else 0
            if serves and inside:
                # What people know of is news again once it has been well for some time.
                again = sight.out < _KNOWN or (sight.served > _WELL_ROUNDS and not slot.drained_manually)
                sight.out = 0.0 if again else sight.out
                sight.rounds = 0
                continue
            sight.out, sight.rounds = sight.out or now, sight.rounds + 1
            self.seconds_out += 2
            if now - sight.out > _OUT_SECONDS and sight.rounds > _OUT_ROUNDS:
                self.wrong(f"slot {slot.name} ({slot.phase}) is out since {sight.out:.0f} and nobody was told")
                sight.out = _KNOWN

    def _strays(self, now: float) -> None:
        """Who is in the balancer, with a slot or without, and leads to a primary that is over, for how many rounds?"""
        far = self.street.far
        for host in self.street.hosts.values():
            stray = host.target == "registered" and host.leads != far.master and now > max(
                far.moved + _MOVED, host.booted)
            self._astray[host.id] = self._astray[host.id] + 1 if stray else 0
            if self._astray[host.id] == _ASTRAY_ROUNDS and self.mode != "observe":
                self.wrong(f"{host.id} is in the balancer and leads to a master that is over")

    def blip(self, seconds: float) -> None:
        """Several fail at once, for so long (0 ends it), while all others are well."""
        self._blip = (self.street.now, self.street.now + seconds)
