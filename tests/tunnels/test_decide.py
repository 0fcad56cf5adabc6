"""The controller's decisions as tables, and what holds of them whatever is seen."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.config.tunnels import Tunnels
from chalicelib.engine import schema
from chalicelib.engine.limits import Cooldown
from chalicelib.tunnels import state
from chalicelib.tunnels.decide import assign, guards, reconcile
from chalicelib.tunnels.decide.context import DecisionContext
from chalicelib.tunnels.probe.result import ProbeResult
from chalicelib.tunnels.state import (
    Endpoint,
    Kind,
    Member,
    PeerReport,
    ProbeStreak,
    TunnelObservation,
    TunnelState,
    extended,
)

NOW = 1_000_000.0
HOME, AWAY = "us-east-1", "eu-west-1"
SETTINGS = Tunnels(primary=HOME)


def streak(count: int, side: Any = "up", age: float = 0.5) -> ProbeStreak:
    """So many equal probes, the last so long ago."""
    return ProbeStreak(side == "up", count, NOW - age - 2 * (count - 1), NOW - age, side, "")


def view(
    *members: Member,
    canaries: tuple[PeerReport, ...] = (),
    absent: tuple[str, ...] = (),
    mode: Any = "full",
    by_hand: bool = False,
    lead: str = "",
    **more: Any,
) -> DecisionContext:
    """Two healthy members, except for what is given."""
    given = {member.name: member for member in members}
    every = tuple(given.get(name) or healthy(name) for name in sorted({"1", "2"} | given.keys()))
    there = {member.instance: Endpoint(member.instance, "10.0.0.1") for member in every if member.instance}
    there |= {f"i-{name}": Endpoint(f"i-{name}", "10.0.0.1", target="absent") for name in absent}
    seen = TunnelObservation("here", replace(SETTINGS, mode=mode), there, peer_reports=canaries, primary_region=lead)
    before = TunnelState(members=every, **more)
    return DecisionContext(seen, before, before, NOW, manual=by_hand)


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
    ("the other does not answer", "drain", view(bad(), bad("2", 1)), "no other member is in the balancer"),
    ("the other has just begun to", "drain", view(bad(), healthy("2", streak=streak(4))), "no other member"),
    ("the other has answered five times", "drain", view(bad(), healthy("2", streak=streak(5))), ""),
    ("the other was not seen lately", "drain", view(bad(), healthy("2", streak=streak(50, age=11))), "no other member"),
    ("the other is not in the balancer", "drain", view(bad(), absent=("2",)), "no other member is in the balancer"),
    (
        "the other is about to leave it",
        "drain",
        view(bad(), healthy("2", phase="drained", drained_manually=True)),
        "no other member",
    ),
    ("a replacement of one that answers", "replace", view(healthy("1"), bad("2"), by_hand=True), "no other member is"),
    (
        "a replacement of one that does not",
        "replace",
        view(bad(), bad("2"), all_down_since=DARK, canaries=(GOOD_CANARY,)),
        "",
    ),
    (
        "dark without a canary",
        "restart",
        view(bad(), bad("2"), all_down_since=DARK),
        "nothing is up, and no other region proves",
    ),
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
        "its tunnel works, and what it goes to does not",
    ),
    ("its tunnel leads elsewhere than another", "restart", view(bad(side="far")), ""),
    ("it hangs", "restart", view(bad(side="ambiguous"), bad("2"), all_down_since=DARK, canaries=(GOOD_CANARY,)), ""),
    (
        "several at once",
        "drain",
        view(bad(), healthy("3"), correlated_failure_since=NOW - 59),
        "several failed at once",
    ),
    ("several at once, a minute ago", "drain", view(bad(), healthy("3"), correlated_failure_since=NOW - 60), ""),
    ("four heals", "restart", view(bad(), repairs=((NOW - 599, 1),) * 4), "4 repairs within 10 minutes are the most"),
    ("three heals", "restart", view(bad(), repairs=(*((NOW - 599, 1),) * 3, (NOW - 600, 1))), ""),
    (
        "three replacements",
        "replace",
        view(bad(), replacements=((NOW - 3599, 1),) * 3),
        "3 replacements within an hour",
    ),
    ("two replacements", "replace", view(bad(), replacements=(*((NOW - 3599, 1),) * 2, (NOW - 3600, 1))), ""),
    ("replacements do not forbid a restart", "restart", view(bad(), replacements=((NOW - 1, 1),) * 3), ""),
    (
        "another restarts",
        "restart",
        view(bad(), healthy("3"), bad("2", phase="restarting")),
        "a repair of member 2 is under way",
    ),
    (
        "another is replaced",
        "restart",
        view(bad(), healthy("3"), bad("2", phase="joining", replacement_count=1, repair_started_at=NOW - 9)),
        "a repair of member 2 is under way",
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
        "no probe has shown yet that it goes to the primary in eu-west-1",
    ),
    (
        "nobody knows where it leads",
        "restart",
        view(bad(), healthy("2", connected_region=AWAY), lead=AWAY),
        "no probe has shown yet",
    ),
    (
        "it was led there twice in vain",
        "replace",
        view(bad(connected_region=HOME, repoint_attempts=2), healthy("2", connected_region=AWAY), lead=AWAY),
        "",
    ),
    (
        "nobody can be led there, and people know why",
        "replace",
        view(
            bad(connected_region=HOME, repoint_attempts=2),
            bad("2", connected_region=HOME, repoint_attempts=2),
            lead=AWAY,
            by_hand=True,
        ),
        "",
    ),
    (
        "nobody can be led there",
        "replace",
        view(
            bad(connected_region=HOME, repoint_attempts=2),
            bad("2", connected_region=HOME, repoint_attempts=2),
            lead=AWAY,
        ),
        "nothing is up, and no other region proves",
    ),
    (
        "it leads elsewhere and is let in",
        "undrain",
        view(healthy("1", connected_region=HOME, repoint_attempts=2), lead=AWAY),
        "no probe has shown yet that it goes to the primary in",
    ),
    ("it leads where it is to", "undrain", view(healthy("1", connected_region=AWAY), lead=AWAY), ""),
    (
        "it is led in mode drain",
        "repoint",
        view(bad(connected_region=HOME), lead=AWAY, mode="drain"),
        "mode is 'drain'",
    ),
    (
        "the last one is led, too",
        "repoint",
        view(bad(connected_region=HOME), bad("2", connected_region=HOME), lead=AWAY),
        "",
    ),
    (
        "dark, the canary speaks of another primary",
        "restart",
        view(
            bad(connected_region=AWAY),
            bad("2", connected_region=AWAY),
            all_down_since=DARK,
            canaries=(GOOD_CANARY,),
            lead=AWAY,
        ),
        "nothing is up",
    ),
    (
        "dark, the canary speaks of this primary",
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
    (
        "it cools down",
        "restart",
        view(bad(cooldown=Cooldown(60, NOW + 20))),
        "member 1 cools down after a repair, for 20 s",
    ),
    ("it has cooled down", "restart", view(bad(cooldown=Cooldown(60, NOW))), ""),
    (
        "it cools down, but is being repaired already",
        "replace",
        view(bad(cooldown=Cooldown(60, NOW + 20), restart_count=2)),
        "",
    ),
]


@pytest.mark.parametrize(("kind", "world", "reason"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_holds_an_act_back(kind: Kind, world: DecisionContext, reason: str) -> None:
    said = guards.refusal(world, world.members[0], kind)
    assert said.startswith(reason) if reason else said == ""


def test_every_guard_is_in_the_table() -> None:
    held = {
        guard.name
        for _, kind, world, reason in CASES
        if reason
        for guard in guards.GUARDS
        if kind in guard.kinds and guard.rule(world, world.members[0], kind).startswith(reason)
    }
    assert held == {guard.name for guard in guards.GUARDS}


@pytest.mark.parametrize(
    ("verdict", "counts"),
    [
        (ProbeResult("up", "answered", NOW + 2), (True, 6)),
        (ProbeResult("local", "refused", NOW + 2), (False, 1)),
        (ProbeResult("up", "answered", NOW), (True, 5)),
        (ProbeResult("up", "answered", NOW + 11), (True, 1)),
        (ProbeResult("local", "refused", NOW - 3), (True, 5)),
    ],
    ids=["another", "another side", "the same again", "after a gap", "one that came late"],
)
def test_what_counts_as_in_a_row(verdict: ProbeResult, counts: tuple[bool, int]) -> None:
    after = extended(ProbeStreak(True, 5, NOW - 8, NOW, "up"), verdict, 10)
    assert (after.up, after.count) == counts


SIDES = st.sampled_from(["up", "local", "far", "ambiguous"])


@pytest.mark.slow
@given(st.lists(st.tuples(SIDES, SIDES, st.sampled_from([2.0, 2.0, 2.0, 9.0, 30.0])), min_size=1, max_size=120))
def test_whatever_is_seen_the_state_is_whole_and_reads_back(worlds: list[tuple[Any, Any, float]]) -> None:
    remembered, now, there = TunnelState(), NOW, {id: Endpoint(id, "10.0.0.1") for id in ("i-1", "i-2")}
    for one, other, wait in worlds:
        now += wait
        probes = {"i-1": ProbeResult(one, "", now), "i-2": ProbeResult(other, "", now)}
        decision = reconcile(remembered, TunnelObservation("here", SETTINGS, there, probes), now)
        keys = [action.key for action in decision.actions]
        assert len(set(keys)) == len(keys)
        assert sum(action.kind in ("restart", "replace") for action in decision.actions) <= 1
        out = {action.instance for action in decision.actions if action.kind == "drain"}
        there = {id: replace(end, target="absent") if id in out else end for id, end in there.items()}
        back = {action.instance for action in decision.actions if action.kind == "undrain"}
        there = {id: replace(end, target="registered") if id in back else end for id, end in there.items()}
        assert any(end.target == "registered" for end in there.values())
        body = msgspec.json.decode(msgspec.json.encode(schema.encode(decision.state, state.SCHEMA)))
        read = schema.decode(body, state.SCHEMA, schema.ItemKey("", *state.KEY))
        assert isinstance(read, schema.Stored) and read.value == decision.state
        remembered = read.value
        assert [member.instance for member in remembered.members] == ["i-1", "i-2"]


@pytest.mark.slow
@given(st.lists(SIDES, min_size=1, max_size=30))
def test_the_fast_way_decides_as_the_slow_one(sides: list[Any]) -> None:
    """`assign.steady_state` may only say what the whole decision would."""
    remembered, now, there = TunnelState(), NOW, {id: Endpoint(id, "10.0.0.1") for id in ("i-1", "i-2")}
    for side in ["up"] * 6 + sides:
        now += 2
        seen = TunnelObservation("here", SETTINGS, there, {id: ProbeResult(side, "", now) for id in there})
        fast = reconcile(remembered, seen, now)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assign, "steady_state", lambda *words: None)
            assert reconcile(remembered, seen, now) == fast
        remembered = fast.state


def test_nothing_that_is_given_is_changed() -> None:
    """A decision is a function of values: the same ones give the same decision, whatever was decided before."""
    there = {id: Endpoint(id, "10.0.0.1") for id in ("i-1", "i-2")}
    probes = {"i-1": ProbeResult("local", "refused", NOW), "i-2": ProbeResult("up", "answered", NOW)}
    before = TunnelState(members=(bad(), healthy("2")))
    seen = TunnelObservation("here", SETTINGS, there, probes)
    first, copy = reconcile(before, seen, NOW), msgspec.json.encode(before)
    assert first.actions and reconcile(before, seen, NOW) == first and msgspec.json.encode(before) == copy
