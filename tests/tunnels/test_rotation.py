"""A key is changed without a moment in which a host could not connect, whatever dies on the way."""

import contextlib
import json
from typing import Any

import msgspec
import pytest

from chalicelib.engine import run as engine
from chalicelib.tunnels.keys import aws
from chalicelib.tunnels.keys import decide as rotation
from chalicelib.tunnels.keys.decide import Host, RotationObservation, RotationState, decide
from chalicelib.tunnels.keys.operation import ROTATE
from tests.tunnels.fleets import parsed
from tests.tunnels.keys_harness import NOON, Crash, Ring

A, B = (f"{letter * 8}-0000-0000-0000-000000000000" for letter in "ab")
LINES = {A: "line a", B: "line b"}
BOTH = (Host("i-1", True, True), Host("i-2", True, True))


def seen(memory: RotationState, **more: Any) -> RotationObservation:
    """Two healthy hosts, a current key that the far side knows, and `more`."""
    whole: dict[str, Any] = {"memory": memory, "version": 1, "current": A, "pending": "", "published": {A: "line a"},
                             "hosts": BOTH, **more}
    return RotationObservation(**whole)


def finish(ring: Ring, runs: int = 60) -> list[str]:
    """Run until a run is done; the kinds of acts."""
    told: list[str] = []
    for _ in range(runs):
        told += [action["kind"] for action in ring.run({"start": False})["plan"].get("actions", ())]
        answer = ring.run()
        safe(ring)
        if answer["status"] == "done":
            return told
        assert answer["status"] == "later", answer
        ring.wait(float(str(answer["requeue_after_seconds"])))
    raise AssertionError(f"not done after {runs} runs: {told}")


def safe(ring: Ring) -> None:
    """Whatever key a host has, or will begin with, the far side is told of, so that it can connect at any time."""
    known = ring.everywhere
    for id, machine in ring.machines.items():
        assert not machine.key or machine.key in known, f"{id} cannot connect again"
    assert not ring.current or ring.current in known, "a new host could not connect"


def test_a_key_is_changed_in_the_order_that_leaves_nobody_out() -> None:
    ring = Ring()
    old = ring.current
    ring.run()
    ring.pull()
    acts = [act for act in finish(ring) if act != "record"]
    assert acts == ["reload", "reload", "promote", "remove-old-keys", "finish"]
    assert ring.current != old and set(ring.everywhere) == {ring.current} and not ring.pending
    assert {machine.key for machine in ring.machines.values()} == {ring.current}
    assert ring.memory.done and ring.memory.loaded.keys() == ring.machines.keys()


def test_the_first_key_of_all_comes_the_same_way() -> None:
    ring = Ring(key=False)
    ring.run()
    assert ring.current and set(ring.everywhere) == {ring.current}
    finish(ring)
    assert {machine.key for machine in ring.machines.values()} == {ring.current} and ring.memory.done


def test_a_plan_changes_nothing_and_its_digest_is_that_of_the_run_that_follows() -> None:
    ring = Ring()
    planned = ring.run({})
    assert planned["status"] == "planned" and ring.memory.done and len(ring.private) == 1
    ring.wait(5)
    assert ring.run({"apply": planned["digest"]})["status"] == "later"
    assert ring.run({"apply": planned["digest"]})["status"] == "refused"


def test_a_schedule_goes_on_and_never_begins() -> None:
    event = {"detail-type": "Scheduled Event", "time": "2026-09-21T12:00:00Z"}
    ring = Ring()
    ring.versions = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    assert ring.run(event)["status"] == "done" and len(ring.private) == 1
    del ring.versions
    ring.run()
    before = ring.memory
    assert ring.run(event)["status"] == "done"  # `later` would count as a failure
    assert ring.memory.command and before.command is None


def test_a_private_key_is_in_the_secret_and_nowhere_else() -> None:
    ring = Ring()
    told: list[str] = []
    for _ in range(40):
        answer = ring.run()
        told.append(json.dumps(answer))
        ring.wait(float(str(answer.get("seconds", 0))))
        if answer["status"] == "done":
            break
    told += [json.dumps(item.body) for item, _, _ in ring.regional.store.items.values()] + ring.parameters
    for version, text in ring.private.items():
        body = text.splitlines()[3:-1]  # the first lines hold the public half
        assert body and not any(line in "".join(told) for line in body), version


@pytest.mark.parametrize("seed", range(60))
def test_a_run_that_dies_anywhere_is_followed_by_one_that_goes_on(seed: int) -> None:
    ring = Ring(seed, key=seed % 5 > 0)

    def fault(call: str) -> None:
        if ring.random.random() < 0.25:
            raise Crash(call)

    began = ring.current
    for turn in range(60):
        ring.fault = fault if turn < 40 else (lambda call: None)
        with contextlib.suppress(Crash):
            ring.run({"apply": True, "start": turn % 3 > 0})
        safe(ring)
        if turn < 40:
            trouble(ring)
        ring.wait(ring.random.choice((1.0, 5.0, 20.0, 40.0)))
    for machine in ring.machines.values():
        machine.in_service, machine.healthy = True, bool(machine.key)
    while ring.run({"apply": True, "start": False})["status"] == "later":
        ring.wait(10)
        safe(ring)
        assert ring.now < NOON + 10_000
    assert ring.current not in ("", began) and [set(told) for told in ring.published()] == [{ring.current}] * 2


def trouble(ring: Ring) -> None:
    """A host goes, another one comes, or one is ill for a while."""
    if ring.random.random() < 0.15:
        ring.machines.pop(ring.random.choice(sorted(ring.machines)))
        ring.launch()
    for machine in ring.machines.values():
        machine.healthy = bool(machine.key) and ring.random.random() > 0.2
        machine.in_service = ring.random.random() > 0.1


def test_the_far_side_is_told_before_there_is_a_private_key() -> None:
    ring = Ring()
    ring.fault = lambda call: (_ for _ in ()).throw(Crash(call)) if call == "store" else None
    with pytest.raises(Crash):
        ring.run()
    assert len(ring.everywhere) == 2 and len(ring.private) == 1 and not ring.pending


def test_of_two_runs_with_one_plan_only_one_acts() -> None:
    ring = Ring()

    def slow(call: str) -> None:
        ring.fault = lambda call: None
        assert ring.run({"apply": True})["status"] == "later"

    reads = ring.versions
    first = True

    def versions() -> tuple[str, str]:
        nonlocal first
        if first:
            first = False
            slow("")  # another run comes between what this one saw and what it does
        return reads()

    ring.versions = versions  # type: ignore[method-assign]
    answer = ring.run({"apply": True})
    assert "another run was faster" in json.dumps(list(ring.regional.store.items.values()), default=str)
    assert answer["status"] == "later" and len(ring.private) == 2


@pytest.mark.parametrize(("more", "kind", "why"), [
    ({}, "", "no key is being changed"),
    ({"pending": B}, "discard", "never told of this key"),
    ({"pending": B, "published": LINES}, "reload", "it has not tried the key"),
    ({"scattered": {B: "line b"}}, "publish-keys", "not every gateway knows it"),
    ({"pending": B, "published": LINES, "hosts": ()}, "promote", "every host has tried it"),
    ({"published": LINES, "current": B, "hosts": ()}, "remove-old-keys", "every host has the new key"),
    ({"published": LINES}, "create", "was lost on its way"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", True, True),)}, "", "the only healthy one"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", True, True), Host("i-2", True, False))},
     "reload", "it has not tried"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", False, False),)}, "", "is not in service yet"),
])
def test_what_comes_next(more: dict[str, Any], kind: str, why: str) -> None:
    plan = decide(seen(RotationState(version=B if more else A, done=not more), **more), NOON, start=False)
    assert [action.kind for action in plan.actions] == ([kind] if kind else [])
    assert why in plan.notes[0]


def test_an_ill_host_is_asked_before_a_healthy_one_and_a_healthy_one_never_alone() -> None:
    ill = (Host("i-1", True, True), Host("i-2", True, False))
    memory = RotationState(version=B)
    first = decide(seen(memory, pending=B, published=LINES, hosts=ill), NOON, start=False).actions[0]
    assert (first.kind, first.target) == ("reload", "i-2")
    then = decide(seen(RotationState(version=B, loaded={"i-2": B}), pending=B, published=LINES, hosts=ill), NOON,
                  start=False)
    assert then.actions == () and "only healthy one" in then.notes[0] and then.requeue_after_seconds


def test_the_old_key_stays_while_any_host_may_still_need_it() -> None:
    late = (*BOTH, Host("i-3", False, True))  # launched just before the new key became current
    plan = decide(
        seen(RotationState(version=B, loaded={"i-1": B, "i-2": B}), current=B, published=LINES, hosts=late),
        NOON,
        start=True,
    )
    assert [action.kind for action in plan.actions] == [] and plan.requeue_after_seconds


def test_a_host_that_could_not_is_asked_again_and_people_are_told_once_when_it_takes_long() -> None:
    ring = Ring()
    ring.pull = lambda: None  # type: ignore[method-assign]
    for _ in range(200):
        answer = ring.run()
        assert answer["status"] == "later"
        ring.wait(float(str(answer["requeue_after_seconds"])))
    assert len(ring.topic.told) == 1 and "does not let this key in" in ring.topic.told[0][1]
    assert len(ring.commands) > 5 and len(ring.everywhere) == 2
    del ring.pull
    finish(ring)


def test_a_command_that_is_never_heard_of_is_given_up() -> None:
    memory = RotationState(version=B, command=rotation.Command("i-1", NOON))
    waits = decide(seen(memory, pending=B, published=LINES), NOON + rotation.LOST - 1, start=False)
    assert waits.actions == () and waits.requeue_after_seconds
    gone = rotation.settled(seen(memory, pending=B, published=LINES), NOON + rotation.LOST)
    assert gone.command is None and "no answer" in gone.why


@pytest.mark.parametrize(("told", "reply"), [
    ({"Status": "Pending"}, ("running", "")), ({"Status": "InProgress"}, ("running", "")),
    ({"Status": "Success", "StandardOutputContent": f"version={A}\n"}, ("done", A)),
    ({"Status": "Success", "StandardOutputContent": ""}, ("failed", "")),
    ({"Status": "Failed", "StandardErrorContent": "no"}, ("failed", "")),
    ({"Status": "TimedOut", "StatusDetails": "Delivery Timed Out"}, ("failed", "")),
])
def test_what_a_command_says(told: dict[str, Any], reply: tuple[str, str]) -> None:
    found = aws._reply(told)
    assert (found.state, found.version) == reply


def test_without_hosts_of_ours_or_in_the_masters_region_it_is_refused() -> None:
    site = Ring().site
    masters = msgspec.structs.replace(site, region="us-east-1")
    assert "is the master's region" in engine.run(ROTATE, masters, {})["message"]
    bare = msgspec.structs.replace(site, fleet=msgspec.structs.replace(parsed()[0], tunnels=None))
    assert "has no [tunnels.hosts]" in engine.run(ROTATE, bare, {})["message"]


