"""The matrix of lost answers finds what is doubled, lost or silent, and says which answer it was."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from chalicelib.aws.client import Unavailable
from testing.fakes import MemoryQueue, MemoryTable
from testing.lost_answers import Calls, LostAnswer, check_every_lost_answer


class Lamp:
    """A port."""

    def __init__(self) -> None:
        self.watts, self.lit = 40, 0

    def light(self) -> int:
        self.lit += 1
        return self.lit


class Ports(msgspec.Struct, frozen=True):
    """Some ports."""

    lamp: Lamp


class Facts(msgspec.Struct, frozen=True):
    """No ports."""

    places: tuple[str, ...] = ("a",)


class Context(msgspec.Struct, frozen=True):
    """What an operation reaches."""

    store: MemoryTable
    ports: Ports
    queues: Mapping[str, MemoryQueue]
    regions: Mapping[str, Ports | Facts]
    facts: Facts = Facts()
    region: str = "eu-west-1"
    root: Path = Path("/")
    clock: Callable[[], float] = time.time


def context() -> Context:
    return Context(MemoryTable(), Ports(Lamp()), {"work": MemoryQueue()}, {"eu-west-1": Ports(Lamp()), "none": Facts()})


def careful(context: Context) -> None:
    """Lights the lamp once, whatever is lost."""
    if context.store.create("lamp", "lit", {}):
        context.ports.lamp.light()


def careless(context: Context) -> None:
    """Lights it before it is written down."""
    if not context.store.get("lamp", "lit"):
        context.ports.lamp.light()
        context.store.create("lamp", "lit", {})


def scenario(operation: Callable[[Context], None], least: int) -> Callable[[Calls], None]:
    def run(calls: Calls) -> None:
        world = context()
        with calls.counted(), contextlib.suppress(Unavailable):
            operation(calls.wrap_context(world))
        operation(world)
        assert least <= world.ports.lamp.lit <= 1, f"lit {world.ports.lamp.lit} times"

    return run


def test_every_call_is_lost_before_and_after_its_effect() -> None:
    assert check_every_lost_answer(scenario(careful, 0)) == [
        LostAnswer(1, "before", "store.create"), LostAnswer(1, "after", "store.create"),
        LostAnswer(2, "before", "ports.lamp.light"), LostAnswer(2, "after", "ports.lamp.light")]


def test_what_is_doubled_is_found_with_the_answer_that_was_lost() -> None:
    with pytest.raises(AssertionError) as found:
        check_every_lost_answer(scenario(careless, 1))
    assert [line for line in str(found.value).splitlines() if line[0] in "2c"] == [
        "2 of 6 lost answers do harm:",
        "call 2 (ports.lamp.light), answer lost after it took effect: AssertionError: lit 2 times",
        "call 3 (store.create), answer lost before it took effect: AssertionError: lit 2 times"]


def test_what_is_lost_is_found() -> None:
    with pytest.raises(AssertionError, match="lit 0 times"):
        check_every_lost_answer(scenario(careful, 1))


def test_scenario_that_calls_nothing_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="makes 0 external calls, 1 at least expected"):
        check_every_lost_answer(lambda calls: careful(context()))


def test_scenario_that_makes_other_calls_the_second_time_is_reported() -> None:
    times: list[int] = []

    def once(calls: Calls) -> None:
        times.append(1)
        with calls.counted():
            if len(times) == 1:
                calls.wrap(Lamp(), "lamp").light()

    with pytest.raises(AssertionError, match="made only 0 calls this time"):
        check_every_lost_answer(once)


def test_wrapped_context_keeps_what_is_no_port() -> None:
    world, calls = context(), Calls()
    wrapped = calls.wrap_context(world)
    assert (wrapped.facts, wrapped.region, wrapped.root, wrapped.clock) == (
        world.facts, world.region, world.root, world.clock)
    assert wrapped.ports.lamp.watts == 40
    with calls.counted():
        wrapped.queues["work"].change_visibility("r", 1)
        wrapped.store.get("a", "b")
        region = wrapped.regions["eu-west-1"]
        assert isinstance(region, Ports)
        region.lamp.light()
    wrapped.store.get("a", "b")
    assert calls.names == ["queues[work].change_visibility", "store.get", "regions[eu-west-1].lamp.light"]
    assert wrapped.regions["none"] == Facts()


def test_error_of_the_lost_call_is_the_callers_choice() -> None:
    def run(calls: Calls) -> None:
        with calls.counted(), contextlib.suppress(TimeoutError):
            calls.wrap(Lamp(), "lamp").light()

    assert len(check_every_lost_answer(run, error=TimeoutError)) == 2
