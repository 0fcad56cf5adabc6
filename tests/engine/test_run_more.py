"""What the loop does for every operation: claims, alerts, unreadable items, one lost answer of each call in turn."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.context import RegionContext
from chalicelib.engine import state
from chalicelib.engine.alert_plan import ATTEMPT_SECONDS
from chalicelib.engine.alerts import Alert
from chalicelib.engine.operation import Operation, Request, RunFailed, StateItem
from chalicelib.engine.plan import Action, Claim, Plan, Results
from chalicelib.engine.run import run
from chalicelib.engine.schema import Schema, State, Stored, Unreadable
from chalicelib.version import VERSION
from testing.lost_answers import Calls, check_every_lost_answer
from tests.engine.harness import Clock, make_context
from tests.engine.test_run import journal, message


@pytest.fixture
def context() -> RegionContext:
    return make_context()


class Street(State, frozen=True):
    """Which lamps are to burn."""

    lit: tuple[str, ...] = ()


STATE = StateItem(("lamps", "street"), Schema(Street))
DARK = Alert("Dark", "corner", "The lamp does not burn", steps=("Change the bulb.",))
REFUSED = Alert("ActionRefused", "bridge", "AWS refused to light it", cause="AccessDenied", event=True)


class Lamp:
    """An effect outside that must not happen twice; the claimed state sees to it."""

    def __init__(self, *alerts: Alert, refuse: bool = False) -> None:
        self.alerts, self.refuse, self.lit = alerts, refuse, list[str]()
        self.calls = Calls()
        self.unreadable: tuple[Unreadable, ...] = ()
        self.seen: list[Request] = []
        self.operation: Operation[Any] = Operation(
            "lamps.light", "lights", self.observe, self.decide, {"light": self.light}, state=STATE)

    def observe(self, context: RegionContext, request: Request) -> Stored[Street] | Unreadable:
        self.seen.append(request)
        return state.load(context.local_store, STATE.key, STATE.schema, Street())

    def decide(self, seen: Stored[Street] | Unreadable, request: Request) -> Plan:
        if isinstance(seen, Unreadable):
            return Plan(unreadable=(seen,))
        if "corner" in seen.value.lit:
            return Plan(alerts=self.alerts)
        after = Street((*seen.value.lit, "corner"))
        return Plan((Action("light", "corner", "it is dark"),), claim=Claim(seen, after), alerts=self.alerts)

    def light(self, context: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        state.current(context.local_store, STATE.key, STATE.schema, run_id=request.run_id)
        if self.refuse:
            return Results(["refused"], [REFUSED])
        self.calls.call("lamp.light", lambda: self.lit.append(actions[0].target))
        return ["it burns"]


def tick(context: RegionContext, after: int = 0) -> dict[str, Any]:
    return {"detail-type": "Scheduled Event", "time": datetime.fromtimestamp(context.clock() + after, UTC).isoformat()}


def told(context: RegionContext) -> list[str]:
    topic: Any = context.alerts
    return [subject for subject, _ in topic.told]


def test_claim_is_written_before_anything_is_done_and_superseded_run_does_nothing(context: RegionContext) -> None:
    lamp, other = Lamp(DARK), Lamp()

    def overtaken(seen: Any, request: Request) -> Plan:
        plan = lamp.decide(seen, request)
        run(other.operation, context, {"apply": True})
        return plan

    late = msgspec.structs.replace(lamp.operation, decide=overtaken)
    answer = run(late, context, tick(context))
    assert (answer["status"], answer["message"]) == ("superseded", "lamps/street: another run was faster")
    assert (lamp.lit, other.lit) == ([], ["corner"])
    # What it has seen is old: it tells people nothing, either.
    assert told(context) == []


def test_run_that_is_overtaken_in_the_middle_stops_and_tells_nothing(context: RegionContext) -> None:
    lamp = Lamp(DARK)

    def light(site: RegionContext, request: Request, actions: Sequence[Action]) -> Sequence[str]:
        found = state.find(site.local_store, STATE.key, STATE.schema)
        assert isinstance(found, Stored)
        state.claim(site.local_store, STATE.key, STATE.schema, found, Street(("bridge",)), run_id="later")
        return lamp.light(site, request, actions)

    answer = run(msgspec.structs.replace(lamp.operation, act={"light": light}), context, tick(context))
    assert (answer["status"], lamp.lit, told(context)) == ("superseded", [], [])
    assert "stopped: Superseded" in journal(context)[0]["results"][0]


def test_alerts_of_a_plan_are_told_and_end_with_their_condition(context: RegionContext) -> None:
    lamp = Lamp(DARK)
    run(lamp.operation, context, tick(context))
    assert told(context) == ["Dark: corner"]
    lamp.alerts = ()
    run(lamp.operation, context, {"apply": True})
    assert told(context) == ["Dark: corner"], "what a person asks for says nothing of what it does not mention"
    run(lamp.operation, context, tick(context))
    assert told(context) == ["Dark: corner", "Recovered: Dark: corner"]


def test_plan_by_hand_tells_nobody(context: RegionContext) -> None:
    answer = run(Lamp(DARK).operation, context, {})
    assert answer["plan"]["alerts"][0]["kind"] == "Dark"
    assert told(context) == []


def test_alert_of_a_handler_is_told_once(context: RegionContext) -> None:
    lamp = Lamp(refuse=True)
    answer = run(lamp.operation, context, tick(context))
    assert answer["results"] == ("refused", "told: ActionRefused: bridge")
    run(lamp.operation, context, tick(context))
    assert told(context) == ["ActionRefused: bridge"]


def test_alerts_of_a_queue_wait_for_the_scheduled_operation_that_delivers_them(context: RegionContext) -> None:
    worker, lamp = Lamp(DARK), Lamp()
    run(msgspec.structs.replace(worker.operation, alerts_as="lamps.tick"), context, {"Records": [message({})]})
    assert told(context) == []
    ticking = msgspec.structs.replace(lamp.operation, name="lamps.tick", delivers_events=True)
    run(ticking, context, tick(context))
    assert told(context) == ["Dark: corner"]
    run(ticking, context, tick(context))
    assert told(context) == ["Dark: corner"]


@pytest.mark.parametrize("body", [{}, {"lit": []}, {"schema": 1, "lit": "all"}, {"schema": 1, "lumps": 1}])
def test_unreadable_state_is_told_once_and_not_acted_on(context: RegionContext, body: dict[str, Any]) -> None:
    context.local_store.create(*STATE.key, body)
    lamp = Lamp()
    for _ in range(3):
        assert run(lamp.operation, context, tick(context))["status"] == "done"
    assert lamp.lit == []
    assert told(context) == ["UnreadableItem: lamps/street"]


def test_actions_by_hand_keep_their_kind_and_say_so(context: RegionContext) -> None:
    run(Lamp().operation, context, {"apply": True})
    [entry] = journal(context)
    assert (entry["actions"][0]["kind"], entry["actions"][0]["trigger"]) == ("light", "manual")
    assert (entry["trigger"], entry["version"], entry["schema"]) == ("manual", VERSION, 1)


@pytest.mark.parametrize(("after", "side"), [(91, "ahead of"), (-86_401, "behind")])
def test_event_of_an_implausible_time_does_nothing(context: RegionContext, after: int, side: str) -> None:
    lamp = Lamp()
    with pytest.raises(RunFailed, match=f"s {side} this Lambda's clock"):
        run(lamp.operation, context, tick(context, after))
    assert lamp.seen == []


@pytest.mark.parametrize("after", [90, -86_400])
def test_event_that_is_late_or_a_little_early_is_believed(context: RegionContext, after: int) -> None:
    lamp = Lamp()
    run(lamp.operation, context, tick(context, after))
    assert lamp.seen[0].now == int(context.clock() + after)


def test_each_run_has_an_id_of_its_own_though_the_request_is_tried_again(context: RegionContext) -> None:
    lamp = Lamp()
    for _ in range(2):
        run(lamp.operation, context, tick(context), id="request-1")
    assert [request.id for request in lamp.seen] == ["request-1"] * 2
    assert len({request.run_id for request in lamp.seen}) == 2


def test_message_that_breaks_the_operation_comes_back_alone(context: RegionContext) -> None:
    lamp, numbers = Lamp(), iter([0, 1, 1])

    def observe(site: RegionContext, request: Request) -> Any:
        assert 1 // next(numbers)
        return lamp.observe(site, request)

    broken = msgspec.structs.replace(lamp.operation, observe=observe)
    records = [message({}, id=f"m{number}") for number in range(3)]
    assert run(broken, context, {"Records": records}) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert lamp.lit == ["corner"]


def test_details_that_are_too_long_for_the_journal_are_left_out_of_it(context: RegionContext) -> None:
    lamp = Lamp()
    long = Plan((Action("light", "corner", "it is dark", {"text": "x" * 400_000}),))
    run(msgspec.structs.replace(lamp.operation, decide=lambda seen, request: long, state=None, act={
        "light": lambda site, request, actions: [str(len(actions[0].details["text"]))]}), context, {"apply": True})
    [entry] = journal(context)
    assert "too long for the journal" in str(entry["actions"][0]["details"])
    assert entry["results"] == ["400000"]


def test_plan_with_a_claim_needs_a_state(context: RegionContext) -> None:
    lamp = Lamp()
    with pytest.raises(TypeError, match=r"lamps\.light: its plan has a claim"):
        run(msgspec.structs.replace(lamp.operation, state=None), context, {"apply": True})


def test_one_lost_answer_of_any_call_doubles_nothing_and_is_not_silent() -> None:
    def scenario(calls: Calls) -> None:
        clock, lamp = Clock(), Lamp(DARK)
        context, lamp.calls = make_context(clock), calls
        with calls.counted(), contextlib.suppress(RunFailed, Unavailable):
            run(lamp.operation, calls.wrap_context(context), tick(context))
        clock.now += ATTEMPT_SECONDS
        run(lamp.operation, context, tick(context))
        assert len(lamp.lit) <= 1
        assert told(context)[0] == "Dark: corner"
        assert len(told(context)) <= 2

    assert len(check_every_lost_answer(scenario)) > 10
