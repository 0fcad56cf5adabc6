"""A key is changed without a moment in which a host could not connect, whatever dies on the way."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.aws.client import Unavailable
from chalicelib.aws.ssm import Invocation
from chalicelib.engine import run as engine
from chalicelib.engine import schema
from chalicelib.engine.operation import Operation
from chalicelib.engine.plan import Plan
from chalicelib.engine.schema import Stored
from chalicelib.tunnels.keys import decide as decisions
from chalicelib.tunnels.keys import operation as operations
from chalicelib.tunnels.keys import state
from chalicelib.tunnels.keys.state import Command, CommandStatus, Host, RotationObservation, RotationState
from testing.lost_answers import Calls, check_every_lost_answer
from tests.tunnels.fleets import parsed
from tests.tunnels.keys_harness import NOON, Crash, Ring, stored

A, B = (f"{letter * 8}-0000-0000-0000-000000000000" for letter in "ab")
LINES = {A: "line a", B: "line b"}
BOTH = (Host("i-1", True, True), Host("i-2", True, True))


def seen(**more: Any) -> RotationObservation:
    """Two healthy hosts, a current key that the gateways know, and `more`."""
    whole: dict[str, Any] = {"current": A, "pending": "", "published": {A: "line a"}, "hosts": BOTH, **more}
    return RotationObservation(**whole)


def decide(state: RotationState, seen: RotationObservation, now: float, *, start: bool) -> Plan:
    """The plan of one run."""
    return decisions.decide(Stored(state, 1), seen, now, start=start)


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
    """Whatever key a host has, or will begin with, every gateway is told of, and those that a host has are let in.

    Except the first one of all. Secrets Manager labels it AWSCURRENT at once, whatever it is told."""
    known, first = ring.everywhere, next(iter(ring.aws.secret_values), "")
    for id, key in ring.keys.items():
        assert not key or key in known, f"{id} cannot connect again"
        assert key in ("", first) or all(key in heard for heard in ring.heard), f"a gateway denies the key of {id}"
    assert not ring.current or ring.current in known, "a new host could not connect"


def test_a_key_is_changed_in_the_order_that_leaves_nobody_out() -> None:
    ring = Ring()
    old = ring.current
    ring.run()
    ring.pull()
    acts = finish(ring)
    assert list(dict.fromkeys(acts)) == ["reload", "promote", "remove-old-keys", "check-former-key", "finish"]
    assert acts.count("reload") == 2 and [set(heard) for heard in ring.heard] == [{ring.current}] * 2
    assert ring.current != old and set(ring.everywhere) == {ring.current} and not ring.pending
    assert set(ring.keys.values()) == {ring.current}
    assert ring.state.done and ring.state.loaded.keys() == ring.keys.keys()


def test_the_first_key_of_all_comes_the_same_way() -> None:
    ring = Ring(key=False)
    ring.run()
    assert ring.current and set(ring.everywhere) == {ring.current}
    finish(ring)
    assert set(ring.keys.values()) == {ring.current} and ring.state.done


def test_a_plan_changes_nothing_and_its_digest_is_that_of_the_run_that_follows() -> None:
    ring = Ring()
    planned = ring.run({})
    assert planned["status"] == "planned" and ring.state.done and len(ring.aws.secret_values) == 1
    ring.wait(5)
    assert ring.run({"apply": planned["digest"]})["status"] == "later"
    assert ring.run({"apply": planned["digest"]})["status"] == "refused"


def test_a_schedule_goes_on_and_never_begins() -> None:
    event = {"detail-type": "Scheduled Event", "time": "2026-09-21T14:13:20Z"}
    ring = Ring()
    ring.fault = lambda call: (_ for _ in ()).throw(Crash(call))
    assert ring.run(event)["status"] == "done" and len(ring.aws.secret_values) == 1
    ring.fault = lambda call: None
    ring.run()
    before = ring.state
    assert ring.run(event)["status"] == "done"  # `later` would count as a failure
    assert ring.state.command and before.command is None


def test_a_scheduled_step_counts_its_seconds_by_the_clock_not_from_the_minute_of_its_event() -> None:
    ring = Ring()
    ring.run()
    while not (command := ring.state.command):
        ring.wait(60)
        # The rule has fired at second 59 of its minute.
        ring.run({"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(ring.now - 59, UTC).isoformat()})
    assert command.at == ring.now


def test_a_time_ahead_of_the_clock_holds_no_step_up() -> None:
    ring = Ring()
    ring.run()
    ahead = replace(ring.state, failed_at=ring.now + 86_400, failure="a host whose clock was ahead")
    item = ring.local.get(*state.KEY)
    assert item and ring.local.compare_and_set(item, schema.encode(ahead, state.SCHEMA))
    ring.wait(60)
    finish(ring)


def test_a_private_key_is_in_the_secret_and_nowhere_else() -> None:
    ring = Ring()
    told: list[str] = []
    for _ in range(40):
        answer = ring.run()
        told.append(json.dumps(answer))
        ring.wait(float(str(answer.get("requeue_after_seconds", 0))))
        if answer["status"] == "done":
            break
    told += stored(ring)
    for version, text in ring.aws.secret_values.items():
        body = text.splitlines()[3:-1]  # the first lines hold the public half
        assert body and not any(line in "".join(told) for line in body), version


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_a_run_that_dies_anywhere_is_followed_by_one_that_goes_on(seed: int) -> None:
    ring = Ring(seed, key=seed % 5 > 0)

    def fault(call: str) -> None:
        if ring.random.random() < 0.06:
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
    for id, key in ring.keys.items():
        ring.aws.instances[id].lifecycle = "InService"
        ring.ill(id, not key)
    while ring.run({"apply": True, "start": False})["status"] == "later":
        ring.wait(10)
        safe(ring)
        assert ring.now < NOON + 10_000
    assert ring.current not in ("", began) and [set(ring.told(number)) for number in range(2)] == [{ring.current}] * 2


def trouble(ring: Ring) -> None:
    """A host goes, another one comes, or one is ill for a while."""
    if ring.random.random() < 0.15:
        ring.remove(ring.random.choice(sorted(ring.keys)))
        ring.launch()
    for id, key in ring.keys.items():
        ring.ill(id, not key or ring.random.random() < 0.2)
        ring.aws.instances[id].lifecycle = "Pending" if ring.random.random() < 0.1 else "InService"


def test_the_far_side_is_told_before_there_is_a_private_key() -> None:
    ring = Ring()
    ring.fault = lambda call: (_ for _ in ()).throw(Crash(call)) if call == "secrets put" else None
    with pytest.raises(Crash):
        ring.run()
    assert len(ring.everywhere) == 2 and len(ring.aws.secret_values) == 1 and not ring.pending


def test_of_two_runs_with_one_plan_only_one_acts() -> None:
    ring = Ring()
    made = operations.operation(ring.random.randbytes)

    def observe(*words: Any) -> operations.Observed:
        found: operations.Observed = made.observe(*words)
        assert ring.run()["status"] == "later"  # another run comes between what this one saw and what it does
        return found

    slow: Operation[operations.Observed] = replace(made, observe=observe)
    assert engine.run(slow, ring.context, {"apply": True}, "slow")["status"] == "superseded"
    assert len(ring.aws.secret_values) == 2


def test_a_gateway_that_lets_nobody_in_holds_the_change_up_whatever_its_parameter_says() -> None:
    """Of two gateways the second reads no more lists, be its disk full or its program gone. Parameters are written all
    the same."""
    ring = Ring()
    old = ring.current
    ring.deaf = {1}
    for _ in range(200):
        answer = ring.run()
        safe(ring)
        ring.wait(float(str(answer["requeue_after_seconds"])))
    assert ring.pending and ring.current == old and set(ring.keys.values()) == {old} and set(ring.heard[1]) == {old}
    [text] = [text for subject, text in ring.topic.told if subject == "KeyRotationOverdue: eu-west-1"]
    assert "gateway 1 does not let this key in" in text
    ring.deaf = set()
    finish(ring)
    assert ring.current != old


def test_a_gateway_that_lets_the_former_key_in_keeps_the_change_open() -> None:
    ring = Ring()
    ring.run()
    ring.pull()
    for _ in range(200):
        answer = ring.run()
        if ring.current in ring.keys.values() and not ring.pending:
            ring.deaf = {1}
        ring.wait(float(str(answer["requeue_after_seconds"])))
    assert len(ring.heard[1]) == 2 and not ring.state.done
    [text] = [text for subject, text in ring.topic.told if subject == "KeyRotationOverdue: eu-west-1"]
    assert "gateway 1 still lets the former key in" in text
    ring.deaf = set()
    assert set(finish(ring)) == {"check-former-key", "finish"}


FIRST = {"pending": B, "published": LINES, "gateways": ("here", "there")}
LOADED = {"i-1": B, "i-2": B}


@pytest.mark.parametrize(("admitted", "kind", "why"), [
    ({"i-1": ("here", "there"), "i-2": ("here",)}, "promote", "every host has tried it"),
    ({"i-1": ("here",), "i-2": ("there",)}, "promote", "every host has tried it"),
    ({"i-1": ("here",), "i-2": ("here",)}, "", "no host that is there logs in at the gateway of there"),
    ({"i-1": (), "i-2": ()}, "", "no host that is there logs in at the gateway of here, there"),
    ({"i-1": ("here",), "gone": ("there",)}, "reload", "it has not tried the key"),
    ({}, "reload", "it has not tried the key"),
])
def test_each_gateway_has_let_in_a_host_that_is_there_before_the_key_is_promoted(
    admitted: dict[str, tuple[str, ...]], kind: str, why: str
) -> None:
    plan = decide(RotationState(version=B, loaded=LOADED, admitted=admitted), seen(**FIRST), NOON, start=False)
    assert [action.kind for action in plan.actions] == ([kind] if kind else [])
    assert why in plan.notes[0] and plan.requeue_after_seconds


def test_without_a_host_no_key_is_promoted_and_no_old_one_removed() -> None:
    for more in (FIRST, {**FIRST, "current": B, "pending": ""}):
        plan = decide(RotationState(version=B), seen(**more, hosts=()), NOON, start=False)
        assert not plan.actions and "no host that is there logs in" in plan.notes[0] and plan.requeue_after_seconds


def test_a_host_that_does_not_ask_a_gateway_for_the_former_key_proves_nothing() -> None:
    look = seen(current=B, published={B: "line b"}, gateways=("here", "there"), former=A,
                command=CommandStatus("done", A, gateways=("here",)))
    state = RotationState(version=B, loaded=LOADED, admitted={"i-1": ("here", "there")},
                          command=Command("i-1", NOON, "c", "check-former-key"))
    after = decisions.settled(state, look, NOON)
    assert not after.denied and "the gateway of there" in after.failure
    whole = replace(look, command=CommandStatus("done", A, gateways=("here", "there")))
    assert decisions.settled(state, whole, NOON).denied == A
    other = replace(look, command=CommandStatus("done", B, gateways=("here", "there")))
    assert decisions.settled(state, other, NOON).failure == f"i-1: it tried the key {B}"


@pytest.mark.parametrize(("more", "kind", "why"), [
    ({}, "", "no change of key is under way"),
    ({"pending": B}, "discard", "do not know this key"),
    ({"pending": B, "published": LINES}, "reload", "it has not tried the key"),
    ({"scattered": {B: "line b"}}, "publish-keys", "not every gateway knows it"),
    ({"pending": B, "published": LINES, "hosts": ()}, "promote", "every host has tried it"),
    ({"published": LINES, "current": B, "hosts": ()}, "remove-old-keys", "every host has the new key"),
    ({"published": LINES}, "create", "got lost on its way"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", True, True),)}, "", "the only healthy one"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", True, True), Host("i-2", True, False))},
     "reload", "it has not tried"),
    ({"pending": B, "published": LINES, "hosts": (Host("i-1", False, False),)}, "", "is not in service yet"),
])
def test_what_comes_next(more: dict[str, Any], kind: str, why: str) -> None:
    plan = decide(RotationState(version=B if more else A, done=not more), seen(**more), NOON, start=False)
    assert [action.kind for action in plan.actions] == ([kind] if kind else [])
    assert why in plan.notes[0]


def test_an_ill_host_is_asked_before_a_healthy_one_and_a_healthy_one_never_alone() -> None:
    ill = (Host("i-1", True, True), Host("i-2", True, False))
    first = decide(RotationState(version=B), seen(pending=B, published=LINES, hosts=ill), NOON, start=False).actions[0]
    assert (first.kind, first.target) == ("reload", "i-2")
    then = decide(RotationState(version=B, loaded={"i-2": B}), seen(pending=B, published=LINES, hosts=ill), NOON,
                  start=False)
    assert then.actions == () and "only healthy one" in then.notes[0] and then.requeue_after_seconds


def test_the_old_key_stays_while_any_host_may_still_need_it() -> None:
    late = (*BOTH, Host("i-3", False, True))  # launched just before the new key became current
    plan = decide(
        RotationState(version=B, loaded={"i-1": B, "i-2": B}), seen(current=B, published=LINES, hosts=late),
        NOON,
        start=True,
    )
    assert [action.kind for action in plan.actions] == [] and plan.requeue_after_seconds


@pytest.mark.slow
def test_a_host_that_could_not_is_asked_again_and_people_are_told_when_it_takes_long() -> None:
    ring = Ring()
    ring.pull = lambda: None  # type: ignore[method-assign]
    for _ in range(200):
        answer = ring.run()
        assert answer["status"] == "later"
        ring.wait(float(str(answer["requeue_after_seconds"])))
    told = [text for subject, text in ring.topic.told if subject == "KeyRotationOverdue: eu-west-1"]
    assert len(told) == 1 and "does not let this key in" in told[0]
    assert len(ring.aws.commands) > 5 and len(ring.everywhere) == 2
    del ring.pull
    finish(ring)


def test_a_rotation_that_is_overdue_is_told_by_the_next_run_when_the_notice_was_lost(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring()
    ring.run()
    ring.wait(decisions.OVERDUE_SECONDS + 1)
    publish, lost = ring.topic.publish, []

    def silent(subject: str, text: str) -> None:
        lost.append(subject)
        raise Unavailable("SNS")

    monkeypatch.setattr(ring.topic, "publish", silent)
    event = {"detail-type": "Scheduled Event", "time": "2026-09-21T14:44:20Z"}
    ring.run(event)
    monkeypatch.setattr(ring.topic, "publish", publish)
    ring.run(event)
    assert len(lost) == 1 and [subject for subject, _ in ring.topic.told] == lost


def test_a_command_that_is_never_heard_of_is_given_up() -> None:
    memory = RotationState(version=B, command=Command("i-1", NOON))
    look = seen(pending=B, published=LINES)
    waits = decide(memory, look, NOON + decisions.LOST_SECONDS - 1, start=False)
    assert waits.actions == () and waits.requeue_after_seconds
    gone = decisions.settled(memory, look, NOON + decisions.LOST_SECONDS)
    assert gone.command is None and "no answer" in gone.failure


@pytest.mark.parametrize(("invocation", "status"), [
    (Invocation("Pending"), CommandStatus("running")), (Invocation("InProgress"), CommandStatus("running")),
    (Invocation("Success", output=f"version={A}\n"), CommandStatus("done", A)),
    (Invocation("Success", output=f"gateway=here\ngateway=there\nversion={A}\n"),
     CommandStatus("done", A, gateways=("here", "there"))),
    (Invocation("Success", output="gateway=here\n"), CommandStatus("failed", detail="Success: it said nothing")),
    (Invocation("Success"), CommandStatus("failed", detail="Success: it said nothing")),
    (Invocation("Failed", error_output="no"), CommandStatus("failed", detail="Failed: no")),
    (Invocation("TimedOut", "Delivery Timed Out"),
     CommandStatus("failed", detail="Delivery Timed Out: it said nothing")),
])
def test_what_a_command_says(invocation: Invocation, status: CommandStatus) -> None:
    ring = Ring()
    [instance, _] = ring.keys
    command = ring.aws.ports.ssm.send_command(instance, "d", {}, timeout_seconds=60)
    ring.aws.commands[command].invocation = invocation
    assert operations.status(ring.context, command, instance) == status


def test_without_hosts_of_ours_or_in_the_primary_s_region_it_is_refused() -> None:
    context = Ring().context
    primary = replace(context, region="us-east-1")
    assert "is the primary's region" in engine.run(operations.ROTATE, primary, {})["message"]
    bare = replace(context, fleet=replace(parsed()[0], sections=parsed()[0].sections | {"tunnels": None}))
    assert "has no [tunnels.hosts]" in engine.run(operations.ROTATE, bare, {})["message"]


def test_where_nothing_is_deployed_it_says_what_to_do() -> None:
    ring = Ring()
    ring.aws.secrets.clear()
    assert "deploy [tunnels.hosts] first" in ring.run()["message"]
    ring = Ring()
    ring.aws.groups.clear()
    assert "deploy [tunnels.hosts] first" in ring.run()["message"]
    ring = Ring()
    ring.aws.target_groups.clear()
    assert "the target group f-s-tunnels in eu-west-1" in ring.run()["message"]


@pytest.mark.parametrize("body", [{}, {"schema": 1, "run_id": "", "of": "another making"}, {"version": "x"}])
def test_a_state_that_cannot_be_read_stops_the_change_and_is_told(body: dict[str, Any]) -> None:
    ring = Ring()
    there = ring.local.get(*state.KEY)
    assert there
    ring.local.compare_and_set(there, body)
    assert ring.run()["status"] == "done" and ring.aws.changes == []
    assert len(ring.topic.told) == 1 and "tunnels/keys" in ring.topic.told[0][1]


@pytest.mark.slow
def test_one_lost_answer_of_any_call_leaves_nobody_out_and_the_change_comes_to_its_end() -> None:
    def scenario(calls: Calls) -> None:
        ring = Ring()
        old = ring.current
        for number in range(30):
            context = ring.context
            with calls.counted(), contextlib.suppress(Unavailable):
                answer = ring.run({"apply": True, "start": number == 0}, calls.wrap_context(context))
            safe(ring)
            ring.wait(float(answer.get("requeue_after_seconds") or 5))
            if answer["status"] == "done":
                break
        # A first run that was lost has begun nothing: people ask again.
        if ring.current == old:
            finish(ring)
        assert ring.current != old and set(ring.everywhere) == {ring.current} == set(ring.keys.values())

    assert len(check_every_lost_answer(scenario)) > 100
