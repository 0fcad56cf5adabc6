"""Effects that are done at most once, whichever answer is lost and whoever comes late."""

import pytest

from chalicelib.aws.client import ClientError, Unavailable
from chalicelib.engine import effects, state
from chalicelib.engine.effects import EffectResult
from chalicelib.engine.schema import Schema, State
from tests.engine.harness import NOW, When, World, number_of_calls


class Street(State, frozen=True):
    """A state to be superseded."""

    number: int = 0


KEY, SCHEMA = ("lamps", "state"), Schema(Street)


class Lamp:
    """Something outside that must not be done twice."""

    def __init__(self, world: World) -> None:
        self.world, self.done = world, 0

    def light(self) -> str:
        self.world.loss("light")
        self.done += 1
        self.world.loss("light")
        return f"command-{self.done}"

    def once(self, key: str = "a/1", fence: str = "") -> EffectResult:
        return effects.once(self.world.store, "lamp-actions", key, self.light, lambda: NOW, fence=lambda: fence)


def test_effect_is_done_once_for_each_key() -> None:
    lamp = Lamp(World())
    assert lamp.once() == EffectResult("done", reference="command-1")
    assert lamp.once() == EffectResult("left", "another run does it, or has done it")
    assert lamp.once("a/2").status == "done"
    known, unreadable = effects.outcomes(lamp.world.store, "lamp-actions", ["a/1", "a/2", "a/3"])
    assert {key: (one.outcome, one.reference) for key, one in known.items()} == {
        "a/1": ("done", "command-1"), "a/2": ("done", "command-2")}
    assert unreadable == ()


def test_effect_behind_its_fence_is_not_even_claimed() -> None:
    lamp = Lamp(World())
    assert lamp.once(fence="too late") == EffectResult("left", "too late")
    assert lamp.once().status == "done"


def test_fence_is_asked_once_more_after_the_claim() -> None:
    lamp, answers = Lamp(World()), iter(["", "a later run has decided"])
    done = effects.once(lamp.world.store, "lamp-actions", "a/1", lamp.light, lambda: NOW, fence=lambda: next(answers))
    assert (done.status, lamp.done) == ("left", 0)


def test_refusal_of_aws_is_noted_and_not_tried_again() -> None:
    lamp = Lamp(World())
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "Light")

    def refuse() -> str:
        raise error

    done = effects.once(lamp.world.store, "lamp-actions", "a/1", refuse, lambda: NOW)
    assert (done.status, done.error_code) == ("refused", "AccessDenied")
    assert "AccessDenied" in str(done)
    assert effects.outcomes(lamp.world.store, "lamp-actions", ["a/1"])[0]["a/1"].outcome == "refused"
    assert lamp.once().status == "left"


def test_error_of_our_own_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        effects.once(World().store, "lamp-actions", "a/1", lambda: str(1 // 0), lambda: NOW)


CALLS = number_of_calls(lambda world: Lamp(world).once())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", range(1, CALLS + 1))
def test_lost_answer_of_any_call_never_doubles_the_effect_and_never_hides_it(lost: int, when: When) -> None:
    lamp = Lamp(World(lost, when))
    first = lamp.once()
    second = lamp.once()
    assert lamp.done <= 1
    if lamp.world.loss.names[lost - 1] in ("create", "light"):
        assert first.status == "unknown"
        assert "no answer, so it may have happened" in str(first)
    else:
        assert (first.status, second.status, lamp.done) == ("done", "left", 1)


def test_two_runs_at_the_same_instant_do_it_once() -> None:
    world = World()
    one, other = Lamp(world), Lamp(world)
    inner: list[EffectResult] = []

    def fence() -> str:
        if not inner:
            inner.append(other.once())
        return ""

    done = effects.once(world.store, "lamp-actions", "a/1", one.light, lambda: NOW, fence=fence)
    assert (done.status, inner[0].status, one.done, other.done) == ("left", "done", 0, 1)


def test_decision_is_stale_after_its_time_and_superseded_by_a_later_run() -> None:
    assert effects.is_stale(NOW, NOW + 10, 10) == ""
    assert effects.is_stale(NOW, NOW + 11, 10) == "its decision rests on an observation of 11 s ago"
    world = World()
    first = state.claim(world.store, KEY, SCHEMA, None, Street(1), run_id="a")
    assert effects.is_superseded(world.store, KEY, SCHEMA, "a") == ""
    state.claim(world.store, KEY, SCHEMA, first, Street(2), run_id="b")
    assert "a later run" in effects.is_superseded(world.store, KEY, SCHEMA, "a")


def test_store_that_is_silent_is_an_unknown_result_not_an_error() -> None:
    lamp = Lamp(World())

    def silent(call: str) -> None:
        raise Unavailable(call)

    lamp.world.store._fault = silent
    assert lamp.once().status == "unknown"
    assert lamp.done == 0
