"""Which instance fills which slot, and what this round's verdicts add to what is known of it. Pure."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from chalicelib.tunnels import leads
from chalicelib.tunnels.records import UNSAID, Endpoint, Memory, Seen, Slot, counted

_GONE = ("shutting-down", "terminated")


def calm(seen: Seen) -> Memory | None:
    """The memory after a round in which all is as it was: every slot healthy, in the balancer, and answering.

    Nearly every round is one, so it is told first and fast; `None` if there is anything to think about.
    """
    memory, stale, slots = seen.memory, seen.settings.stale, []
    if memory.dark or memory.held or seen.blind or seen.fenced or seen.lead != memory.lead:
        return None
    if not len(seen.endpoints) == len(memory.slots) == seen.settings.slots:
        return None
    for slot in memory.slots:
        streak, verdict = slot.streak, seen.verdicts.get(slot.instance)
        endpoint = seen.endpoints.get(slot.instance)
        if (streak is None or verdict is None or endpoint is None or not streak.up or verdict.side != "up"
                or slot.phase != "healthy" or slot.out or slot.kept or slot.strayed
                or (verdict.leads and verdict.leads != slot.leads)
                or endpoint.target != "registered" or endpoint.state != "running"
                or not streak.at < verdict.at <= streak.at + stale or seen.at - verdict.at > stale):
            return None
        slots.append(replace(slot, streak=counted(streak, verdict, stale)))
    return replace(memory, slots=tuple(slots), at=seen.at, fenced="", asked=seen.asked)


def slots(seen: Seen) -> dict[str, Slot]:
    """All slots by name, with their instances and what is known of them now."""
    known = _filled(seen)
    return {slot.name: _counted(leads.told(slot, seen), seen) for slot in known}


def _counted(slot: Slot, seen: Seen) -> Slot:
    verdict = leads.verdict(slot, seen)
    if verdict is None or verdict.why == UNSAID:
        return slot
    return replace(slot, streak=counted(slot.streak, verdict, seen.settings.stale))


def _filled(seen: Seen) -> list[Slot]:
    """An instance keeps its slot as long as it is there; one that is new gets the first that is vacant."""
    slots = [_vacated(slot, seen) for slot in _all(seen)]
    seated = {slot.instance for slot in slots}
    waiting = newcomers(seen.endpoints, seated)
    return [slot if slot.instance or not waiting else _seated(slot, waiting.pop(0), seen) for slot in slots]


def newcomers(endpoints: Mapping[str, Endpoint], seated: Iterable[str]) -> list[str]:
    """The instances without a slot, in the order in which they get one."""
    return sorted(id for id, endpoint in endpoints.items() if id not in set(seated) and endpoint.state not in _GONE)


def _all(seen: Seen) -> list[Slot]:
    """One slot for each number. A new one counts its episodes from the time, so that no key of an act comes twice."""
    there = {slot.name: slot for slot in seen.memory.slots}
    names = map(str, range(1, seen.settings.slots + 1))
    return [there.get(name) or Slot(name, since=seen.at, out=seen.at, episode=int(seen.at)) for name in names]


def _vacated(slot: Slot, seen: Seen) -> Slot:
    endpoint = seen.endpoints.get(slot.instance)
    if not slot.instance or (endpoint is not None and endpoint.state not in _GONE):
        return slot
    if slot.phase == "replacing":
        return replace(slot, instance="", streak=None)
    ours = slot.phase == "joining"
    return replace(slot, instance="", streak=None, phase="replacing", since=seen.at, out=slot.out or seen.at,
                   kept=False, episode=slot.episode + (slot.phase == "healthy"),
                   restarts=slot.restarts if ours else 0, replaced=slot.replaced if ours else 0)


def _seated(slot: Slot, instance: str, seen: Seen) -> Slot:
    goes_on = slot.phase == "replacing"
    return replace(slot, instance=instance, phase="joining", since=seen.at, streak=None, asked=0.0, command="",
                   kept=False, leads="", strayed=0.0, turns=0,
                   restarts=slot.restarts if goes_on else 0, replaced=slot.replaced if goes_on else 0)
