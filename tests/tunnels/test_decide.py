"""The healer's decisions as tables, and what holds of them whatever is seen."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.tunnels import decide, state
from chalicelib.tunnels.config import Tunnels
from chalicelib.tunnels.decide import assign, guards
from chalicelib.tunnels.decide.guards import DecisionContext
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import (
    Endpoint,
    Kind,
    Member,
    PeerReport,
    ProbeStreak,
    TunnelObservation,
    TunnelState,
    counted,
)

NOW = 1_000_000.0
HOME, AWAY = "us-east-1", "eu-west-1"
SETTINGS = Tunnels(master=HOME)


def streak(count: int, side: Any = "up", age: float = 0.5) -> ProbeStreak:
    """So many equal probes, the last so long ago."""
    return ProbeStreak(side == "up", count, NOW - age - 2 * (count - 1), NOW - age, side, "")


def view(*slots: Member, canaries: tuple[PeerReport, ...] = (), absent: tuple[str, ...] = (), mode: Any = "full",
         by_hand: bool = False, lead: str = "", **memory: Any) -> DecisionContext:
    """Two healthy slots, except for what is given."""
    given = {slot.name: slot for slot in slots}
    names = sorted({"1", "2"} | given.keys())
    all_slots = {name: given.get(name) or healthy(name) for name in names}
    there = {slot.instance: Endpoint(slot.instance, "10.0.0.1") for slot in all_slots.values() if slot.instance}
    there |= {f"i-{name}": Endpoint(f"i-{name}", "10.0.0.1", target="absent") for name in absent}
    seen = TunnelObservation("here", replace(SETTINGS, mode=mode), TunnelState(**memory), there, {}, NOW, canaries,
                             primary_region=lead)
    return DecisionContext(seen, all_slots, by_hand)


def healthy(name: str, **more: Any) -> Member:
    """A slot that has answered for some time."""
    return Member(
        **{"name": name, "instance": f"i-{name}", "phase": "healthy", "since": NOW - 999, "streak": streak(400), **more}
    )


def bad(name: str = "1", count: int = 3, side: Any = "local", **more: Any) -> Member:
    """One that fails."""
    return healthy(name, **{"streak": streak(count, side), **more})


DARK = NOW - 30
GOOD_CANARY = PeerReport(True, NOW - 8)

# The act, the world, and the reason for not doing it; empty: it may be done.
CASES: list[tuple[str, Kind, DecisionContext, str]] = [
    ("all is well", "drain", view(bad()), ""),
    ("restart beside one that bears", "restart", view(bad(phase="drained")), ""),
    ("observe", "drain", view(bad(), mode="observe"), "mode is 'observe'"),
    ("observe lets nothing in either", "undrain", view(mode="observe"), "mode is 'observe'"),
    ("drain drains", "drain", view(bad(), mode="drain"), ""),
    ("drain lets in", "undrain", view(mode="drain"), ""),
    ("drain does not heal", "restart", view(bad(), mode="drain"), "mode is 'drain'"),
    ("people may", "replace", view(bad(), mode="observe", by_hand=True), ""),
    ("old", "drain", view(bad(streak=streak(9, "local", age=11))), "what was seen of i-1 is 11 s old"),
    ("just not old", "drain", view(bad(streak=streak(9, "local", age=10))), ""),
    ("never seen", "restart", view(healthy("1", streak=None)), "what was seen of i-1 is nothing yet"),
    ("the other does not answer", "drain", view(bad(), bad("2", 1)), "no other slot is in the balancer"),
    ("the other has just begun to", "drain", view(bad(), healthy("2", streak=streak(4))), "no other slot"),
    ("the other has answered five times", "drain", view(bad(), healthy("2", streak=streak(5))), ""),
    ("the other was not seen lately", "drain", view(bad(), healthy("2", streak=streak(50, age=11))), "no other slot"),
    ("the other is not in the balancer", "drain", view(bad(), absent=("2",)), "no other slot is in the balancer"),
    ("the other is about to leave it", "drain", view(bad(), healthy("2", phase="drained", drained_manually=True)),
     "no other slot"),
    ("a replacement of one that answers", "replace", view(healthy("1"), bad("2"), by_hand=True), "no other slot is"),
    ("a replacement of one that does not", "replace",
     view(bad(), bad("2"), all_down_since=DARK, canaries=(GOOD_CANARY,)), ""),
    ("dark without a canary", "restart", view(bad(), bad("2"), all_down_since=DARK),
     "nothing is up, and no canary proves"),
    (
        "dark, the canary is down",
        "restart",
        view(bad(), bad("2"), all_down_since=DARK, canaries=(PeerReport(False, NOW - 8),)),
        "nothing is up",
    ),
    (
        "dark, one of two canaries lives",
        "restart",
        view(bad(), bad("2"), all_down_since=DARK, canaries=(PeerReport(False, NOW - 1), GOOD_CANARY)),
        "",
    ),
    (
        "dark, the canary is old",
        "restart",
        view(bad(), bad("2"), all_down_since=DARK, canaries=(PeerReport(True, NOW - 11),)),
        "nothing is up",
    ),
    (
        "dark, the canary spoke before",
        "restart",
        view(bad(), bad("2"), all_down_since=NOW - 9, canaries=(GOOD_CANARY,)),
        "nothing is up",
    ),
    (
        "dark, the canary spoke just now",
        "restart",
        view(bad(), bad("2"), all_down_since=DARK, canaries=(PeerReport(True, NOW - 5),)),
        "nothing is up",
    ),
    (
        "another is up, but only just",
        "restart",
        view(bad(), healthy("2", streak=streak(4))),
        "the only ones that answer have just begun to",
    ),
    (
        "its tunnel works",
        "restart",
        view(bad(side="far"), bad("2"), all_down_since=DARK, canaries=(GOOD_CANARY,)),
        "its tunnel works, and what it leads to does not",
    ),
    ("its tunnel leads elsewhere than another", "restart", view(bad(side="far")), ""),
    ("it hangs", "restart", view(bad(side="ambiguous"), bad("2"), all_down_since=DARK, canaries=(GOOD_CANARY,)), ""),
    ("several at once", "drain", view(bad(), healthy("3"), correlated_failure_since=NOW - 59),
     "several failed at once"),
    ("several at once, a minute ago", "drain", view(bad(), healthy("3"), correlated_failure_since=NOW - 60), ""),
    ("four heals", "restart", view(bad(), repair_times=(NOW - 599,) * 4), "4 heals within 10 minutes are the most"),
    ("three heals", "restart", view(bad(), repair_times=(*(NOW - 599,) * 3, NOW - 600)), ""),
    ("three replacements", "replace", view(bad(), replacement_times=(NOW - 3599,) * 3),
     "3 replacements within an hour"),
    ("two replacements", "replace", view(bad(), replacement_times=(*(NOW - 3599,) * 2, NOW - 3600)), ""),
    ("replacements do not forbid a restart", "restart", view(bad(), replacement_times=(NOW - 1,) * 3), ""),
    ("another restarts", "restart", view(bad(), healthy("3"), bad("2", phase="restarting")), "slot 2 is being healed"),
    (
        "another is replaced",
        "restart",
        view(bad(), healthy("3"), bad("2", phase="joining", replacement_count=1, repair_started_at=NOW - 9)),
        "slot 2 is being healed",
    ),
    ("another went by itself", "restart", view(bad(), healthy("3"), Member("2", phase="replacing")), ""),
    (
        "another never comes",
        "restart",
        view(bad(), healthy("3"), Member("2", phase="replacing", replacement_count=1, repair_started_at=NOW - 600)),
        "",
    ),
    (
        "it leads elsewhere",
        "replace",
        view(bad(connected_region=HOME, repoint_attempts=1), healthy("2", connected_region=AWAY), lead=AWAY),
        "it is not known to lead to the master in eu-west-1 yet",
    ),
    ("nobody knows where it leads", "restart", view(bad(), healthy("2", connected_region=AWAY), lead=AWAY),
     "it is not known to"),
    (
        "it was led there twice in vain",
        "replace",
        view(bad(connected_region=HOME, repoint_attempts=2), healthy("2", connected_region=AWAY), lead=AWAY),
        "",
    ),
    (
        "nobody can be led there, and people know why",
        "replace",
        view(bad(connected_region=HOME, repoint_attempts=2), bad("2", connected_region=HOME, repoint_attempts=2),
             lead=AWAY, by_hand=True),
        "",
    ),
    (
        "nobody can be led there",
        "replace",
        view(bad(connected_region=HOME, repoint_attempts=2), bad("2", connected_region=HOME, repoint_attempts=2),
             lead=AWAY),
        "nothing is up, and no canary proves",
    ),
    ("it leads elsewhere and is let in", "undrain",
     view(healthy("1", connected_region=HOME, repoint_attempts=2), lead=AWAY), "it is not"),
    ("it leads where it is to", "undrain", view(healthy("1", connected_region=AWAY), lead=AWAY), ""),
    ("it is led in mode drain", "repoint", view(bad(connected_region=HOME), lead=AWAY, mode="drain"),
     "mode is 'drain'"),
    ("the last one is led, too", "repoint", view(bad(connected_region=HOME), bad("2", connected_region=HOME),
                                                 lead=AWAY), ""),
    (
        "dark, the canary speaks of another master",
        "restart",
        view(bad(connected_region=AWAY), bad("2", connected_region=AWAY), all_down_since=DARK, canaries=(GOOD_CANARY,),
             lead=AWAY),
        "nothing is up",
    ),
    (
        "dark, the canary speaks of this master",
        "restart",
        view(
            bad(connected_region=AWAY),
            bad("2", connected_region=AWAY),
            all_down_since=DARK,
            canaries=(replace(GOOD_CANARY, primary_region=AWAY),),
            lead=AWAY,
        ),
        "",
    ),
    ("it cools down", "restart", view(bad(cooldown_until=NOW + 20)),
     "slot 1 was healed before: it cools down for 20 s"),
    ("it has cooled down", "restart", view(bad(cooldown_until=NOW)), ""),
    ("it cools down, but is being healed already", "replace", view(bad(cooldown_until=NOW + 20, restart_count=2)), ""),
]


@pytest.mark.parametrize(("kind", "world", "reason"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_holds_an_act_back(kind: Kind, world: DecisionContext, reason: str) -> None:
    said = guards.refusal(world, world.slots["1"], kind)
    assert said.startswith(reason) if reason else said == ""


def test_every_guard_is_in_the_table() -> None:
    held = {guard.name for _, kind, world, reason in CASES if reason for guard in guards.GUARDS
            if kind in guard.kinds and guard.rule(world, world.slots["1"], kind).startswith(reason)}
    assert held == {guard.name for guard in guards.GUARDS}


@pytest.mark.parametrize(("verdict", "counts"), [
    (ProbeResult("up", "answered", NOW + 2), (True, 6)), (ProbeResult("local", "refused", NOW + 2), (False, 1)),
    (ProbeResult("up", "answered", NOW), (True, 5)), (ProbeResult("up", "answered", NOW + 11), (True, 1)),
    (ProbeResult("local", "refused", NOW - 3), (True, 5))],
    ids=["another", "another side", "the same again", "after a gap", "one that came late"])
def test_what_counts_as_in_a_row(verdict: ProbeResult, counts: tuple[bool, int]) -> None:
    after = counted(ProbeStreak(True, 5, NOW - 8, NOW, "up"), verdict, 10)
    assert (after.up, after.count) == counts


SIDES = st.sampled_from(["up", "local", "far", "ambiguous"])


@given(st.lists(st.tuples(SIDES, SIDES, st.sampled_from([2.0, 2.0, 2.0, 9.0, 30.0])), min_size=1, max_size=120))
def test_whatever_is_seen_the_memory_is_whole_and_reads_back(worlds: list[tuple[Any, Any, float]]) -> None:
    memory, now, there = TunnelState(), NOW, {id: Endpoint(id, "10.0.0.1") for id in ("i-1", "i-2")}
    for one, other, wait in worlds:
        now += wait
        verdicts = {"i-1": ProbeResult(one, "", now), "i-2": ProbeResult(other, "", now)}
        seen = TunnelObservation("here", SETTINGS, memory, there, verdicts, now)
        decision = decide.decide(seen, "x")
        keys = [act.key for act in decision.acts]
        assert len(set(keys)) == len(keys)
        assert sum(act.kind in ("restart", "replace") for act in decision.acts) <= 1
        out = {act.instance for act in decision.acts if act.kind == "drain"}
        there = {id: replace(end, target="absent") if id in out else end for id, end in there.items()}
        back = {act.instance for act in decision.acts if act.kind == "undrain"}
        there = {id: replace(end, target="registered") if id in back else end for id, end in there.items()}
        assert any(end.target == "registered" for end in there.values())
        memory = state.read(msgspec.json.decode(msgspec.json.encode(state.body(decision.memory))))
        assert memory == decision.memory
        assert [slot.instance for slot in memory.slots] == ["i-1", "i-2"]


@given(st.lists(SIDES, min_size=1, max_size=30))
def test_the_fast_way_decides_as_the_slow_one(sides: list[Any]) -> None:
    """`seats.calm` may only say what the whole decision would."""
    memory, now, there = TunnelState(), NOW, {id: Endpoint(id, "10.0.0.1") for id in ("i-1", "i-2")}
    for side in ["up"] * 6 + sides:
        now += 2
        seen = TunnelObservation("here", SETTINGS, memory, there, {id: ProbeResult(side, "", now) for id in there}, now)
        fast, slow = decide.decide(seen, "x"), decide._think(seen, "x")
        assert fast == slow
        memory = fast.memory


def test_calm_is_told_fast() -> None:
    slots = (healthy("1"), healthy("2"))
    there = {slot.instance: Endpoint(slot.instance, "10.0.0.1") for slot in slots}
    verdicts = {slot.instance: ProbeResult("up", "answered", NOW + 1) for slot in slots}
    seen = TunnelObservation("here", SETTINGS, TunnelState(slots=slots), there, verdicts, NOW + 1)
    assert assign.steady_state(seen) is not None
    for other in (
        replace(seen, verdicts={}),
        replace(seen, unobservable=("x",)),
        replace(seen, endpoints={}),
        replace(seen, memory=TunnelState(slots=(healthy("1", drained_manually=True), slots[1]))),
        replace(seen, memory=TunnelState(slots=slots, correlated_failure_since=1.0)),
        replace(seen, at=NOW + 20),
    ):
        assert assign.steady_state(other) is None


def test_an_instance_keeps_its_slot_and_a_new_one_gets_the_vacant_one() -> None:
    memory = TunnelState(slots=(healthy("1"), healthy("2")))
    there = {"i-2": Endpoint("i-2", "10.0.0.2"), "i-0": Endpoint("i-0", "10.0.0.3")}
    slots = assign.assign_members(TunnelObservation("here", SETTINGS, memory, there, {}, NOW))
    assert [(slot.name, slot.instance, slot.phase) for slot in slots.values()] == [
        ("1", "i-0", "joining"), ("2", "i-2", "healthy")]
    assert slots["1"].incident == 1


def test_nothing_is_up_since_the_last_that_was_also_if_it_went_with_its_instance() -> None:
    memory = TunnelState(slots=(bad("1", 20), healthy("2")))
    seen = TunnelObservation("here", SETTINGS, memory, {"i-1": Endpoint("i-1", "10.0.0.1")}, {}, NOW + 1,
                (PeerReport(True, NOW - 7),))
    decision = decide.decide(seen, "x")
    assert decision.memory.all_down_since == NOW - 0.5 and not decision.acts


def test_more_instances_than_slots_are_named() -> None:
    there = {f"i-{number}": Endpoint(f"i-{number}", "10.0.0.1") for number in range(4)}
    plan = decide.reconcile(TunnelObservation("here", SETTINGS, TunnelState(), there, {}, NOW), "x")
    assert "more instances than slots, these have none: i-2, i-3" in plan.notes


def test_the_failure_of_several_is_held_once() -> None:
    memory = TunnelState(slots=tuple(healthy(name) for name in "123"))
    there = {f"i-{name}": Endpoint(f"i-{name}", "10.0.0.1") for name in "123"}
    settings, now, acts = replace(SETTINGS, slots=3), NOW, []
    for _ in range(50):
        now += 2
        verdicts = {"i-1": ProbeResult("local", "", now), "i-2": ProbeResult("local", "", now),
                    "i-3": ProbeResult("up", "", now)}
        decision = decide.decide(TunnelObservation("here", settings, memory, there, verdicts, now), "x")
        acts += [(act.kind, act.slot, round(now - NOW)) for act in decision.acts if act.action_number == 1]
        memory = decision.memory
    assert acts == [("drain", "1", 66), ("drain", "2", 66)]
