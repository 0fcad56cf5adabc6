"""Alerts on their way: whichever call's answer is lost, each is heard by the next run."""

import contextlib
from typing import Any

import msgspec
import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.aws.store import Item
from chalicelib.engine import alert_text, delivery, state
from chalicelib.engine.alert_plan import ATTEMPT_SECONDS
from chalicelib.engine.alert_text import Origin
from chalicelib.engine.alerts import SCHEMA, Alert, AlertGroup, AlertState, Notification
from chalicelib.engine.schema import Stored
from testing.alerts import ORIGIN
from testing.fakes import MemoryTable
from tests.engine.harness import NOW, When, World, number_of_calls

DOWN = Alert("RegionUnhealthy", "eu-west-1", "No host answers")
OTHER = Alert("HostUnseen", "i-1", "It does not answer")


def run(world: World, *wanted: Alert, now: float = NOW, **options: Any) -> delivery.Delivery:
    return delivery.deliver(world.store, world.topic, "lamps.light", wanted, now, origin=ORIGIN, **options)


def told(world: World) -> AlertState:
    found = state.load(world.store, (delivery.PK, "lamps.light"), SCHEMA, AlertState())
    assert isinstance(found, Stored)
    return found.value


def test_alert_is_written_before_it_is_published_and_marked_after() -> None:
    world = World()
    assert run(world, DOWN).results == ("told: RegionUnhealthy: eu-west-1",)
    assert world.loss.names == ["get", "create", "publish", "get", "compare_and_set"]
    assert run(world, DOWN, now=NOW + 60) == delivery.Delivery()
    assert world.loss.names[5:] == ["get"]
    assert run(world, now=NOW + 120).delivered == ("Recovered: RegionUnhealthy: eu-west-1",)


CALLS = number_of_calls(lambda world: run(world, DOWN, OTHER))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", range(1, CALLS + 1))
def test_lost_answer_of_any_call_is_made_up_for_by_the_next_run(lost: int, when: When) -> None:
    assert CALLS == 8
    world = World(lost, when)
    with contextlib.suppress(Unavailable):
        run(world, DOWN, OTHER)
    run(world, DOWN, OTHER, now=NOW + ATTEMPT_SECONDS)
    heard = world.subjects
    assert set(heard) == {"RegionUnhealthy: eu-west-1", "HostUnseen: i-1"}
    # Told twice only what may not have been heard: its own answer, or the last note that it was told, was lost. The
    # note of the first notice (calls 4 and 5) is made up for by that of the second.
    twice = {(3, "after"), (6, "after"), (7, "before"), (7, "after"), (8, "before")}
    assert len(heard) == 2 + ((lost, when) in twice)
    assert {group.told for group in told(world).groups.values()} == {"firing"}
    assert run(world, DOWN, OTHER, now=NOW + 60) == delivery.Delivery()


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_publish_is_heard_in_the_very_next_round(when: When) -> None:
    world = World(3, when)
    assert "not told, the next run tries again: RegionUnhealthy" in run(world, DOWN).results[0]
    assert run(world, DOWN, now=NOW + 2).delivered == ("RegionUnhealthy: eu-west-1",)


def test_topic_that_refuses_everything_stops_no_run() -> None:
    world = World()

    class Deaf:
        def publish(self, subject: str, text: str) -> None:
            raise Unavailable("no topic")

    for number in range(5):
        done = delivery.deliver(world.store, Deaf(), "lamps.light", [DOWN, OTHER], NOW + 2 * number, origin=ORIGIN)
        assert len(done.failed) == 2
    assert sorted(run(world, DOWN, OTHER, now=NOW + 10).delivered) == ["HostUnseen: i-1", "RegionUnhealthy: eu-west-1"]


@pytest.mark.parametrize("body", [{}, {"schema": 1, "groups": []}, {"schema": 1, "lumps": 1}, {"told": 3}])
def test_state_of_alerts_that_cannot_be_read_is_begun_anew_and_told_once(body: Any) -> None:
    world = World()
    world.store.create(delivery.PK, "lamps.light", body)
    assert set(run(world, DOWN).delivered) == {"RegionUnhealthy: eu-west-1", "UnreadableItem: alerts/lamps.light"}
    assert run(world, DOWN, now=NOW + 60) == delivery.Delivery()


def test_overlapping_runs_tell_people_once() -> None:
    world, second = World(), []

    class Slow:
        def publish(self, subject: str, text: str) -> None:
            second.append(run(world, DOWN, now=NOW + 1))
            world.topic.publish(subject, text)

    delivery.deliver(world.store, Slow(), "lamps.light", [DOWN], NOW, origin=ORIGIN)
    assert second == [delivery.Delivery()]
    assert len(world.subjects) == 1


def failed(number: int) -> Alert:
    return Alert("Failed", f"job-{number:03d}", "It exits with 1", cause="exit 1", event=True, occurrence="12:00")


def test_events_of_200_lambdas_are_one_notice_and_their_items_are_gone() -> None:
    world = World()
    for number in range(200):
        delivery.report_event(world.store, "lamps.light", failed(number), NOW)
    assert run(world, events=True).delivered == ("Failed: 200 x, first job-000",)
    assert world.store.query(f"{delivery.EVENTS_PK}#lamps.light") == []
    # One that is reported once more, since its reporter did not learn that it was, is not news.
    delivery.report_event(world.store, "lamps.light", failed(7), NOW)
    assert run(world, events=True, now=NOW + 60) == delivery.Delivery()


def _report_and_deliver(world: World) -> None:
    for number in range(2):
        delivery.report_event(world.store, "lamps.light", failed(number), NOW)
    run(world, events=True)


EVENT_CALLS = number_of_calls(_report_and_deliver)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", range(1, EVENT_CALLS + 1))
def test_lost_answer_of_any_call_loses_no_event(lost: int, when: When) -> None:
    world = World(lost, when)
    for number in range(2):
        for _ in range(2):  # whoever does not know whether it is reported reports it again
            try:
                delivery.report_event(world.store, "lamps.light", failed(number), NOW)
                break
            except Unavailable:
                continue
    for after in (0, ATTEMPT_SECONDS, 2 * ATTEMPT_SECONDS):
        try:
            run(world, events=True, now=NOW + after)
        except Unavailable:
            continue
    assert set(world.subjects) == {"Failed: 2 x, first job-000"}
    assert len(world.subjects) <= 2
    assert world.store.query(f"{delivery.EVENTS_PK}#lamps.light") == []


def test_event_that_cannot_be_read_keeps_no_other_from_people() -> None:
    world = World()
    delivery.report_event(world.store, "lamps.light", failed(1), NOW)
    world.store.create(f"{delivery.EVENTS_PK}#lamps.light", "x", {"text": "of another release"})
    assert set(run(world, events=True).delivered) == {"Failed: job-001", "UnreadableItem: alert-events#lamps.light/x"}


def test_state_of_alerts_of_another_making_is_replaced() -> None:
    world = World()
    world.items.put(Item(delivery.PK, "lamps.light", -1, {}, "it has no number as its version"), "", None)
    assert set(run(world, DOWN).delivered) == {"RegionUnhealthy: eu-west-1", "UnreadableItem: alerts/lamps.light"}
    assert run(world, DOWN, now=NOW + 60) == delivery.Delivery()


def test_time_out_of_the_calendar_holds_up_no_notice() -> None:
    world = World()
    milliseconds = msgspec.structs.replace(failed(1), since=NOW * 1000)
    delivery.report_event(world.store, "lamps.light", milliseconds, NOW)
    for minute in range(3):
        run(world, DOWN, now=NOW + 60 * minute, events=True)
    assert sorted(world.subjects) == ["Failed: job-001", "RegionUnhealthy: eu-west-1"]
    [text] = [text for subject, text in world.topic.told if subject.startswith("Failed")]
    assert "SINCE: an unknown time (the record has 1.8e+12)." in text


@pytest.mark.parametrize("at", [-1e300, -1.0, 253_402_300_800.0, 1e300])
@pytest.mark.parametrize("holds", [True, False])
def test_notice_of_any_time_has_words(at: float, holds: bool) -> None:
    group = AlertGroup(DOWN, at, ("eu-west-1",), 1, holds=holds, changed_at=at)
    notice = Notification("x", "firing" if holds else "recovered", group)
    assert "an unknown time" in alert_text.text(notice, NOW, origin=ORIGIN)


def test_notice_without_words_is_told_and_repeats_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world, text = World(), alert_text.text

    def wordless(notification: Notification, now: float, *, origin: Origin) -> str:
        if notification.group.alert.kind == "HostUnseen":
            raise ValueError("year 58000 is out of range")
        return text(notification, now, origin=origin)

    monkeypatch.setattr(alert_text, "text", wordless)
    for minute in range(3):
        run(world, DOWN, OTHER, now=NOW + 60 * minute)
    assert sorted(world.subjects) == ["HostUnseen", "RegionUnhealthy: eu-west-1"]


@pytest.mark.parametrize("error", [ValueError("a lone surrogate"), RecursionError("too deep")])
def test_notice_that_the_topic_cannot_take_repeats_no_other(error: Exception) -> None:
    world, heard = World(), list[str]()

    class Picky:
        def publish(self, subject: str, text: str) -> None:
            if subject.startswith("HostUnseen"):
                raise error
            heard.append(subject)

    for minute in range(3):
        done = delivery.deliver(world.store, Picky(), "lamps.light", [OTHER, DOWN], NOW + 60 * minute, origin=ORIGIN)
        assert [why.partition(":")[0] for why in done.failed] == ["HostUnseen"]
    assert heard == ["RegionUnhealthy: eu-west-1"]


def test_run_that_dies_at_one_notice_does_not_repeat_those_before() -> None:
    world, heard = World(), list[str]()

    class Killed(BaseException):
        """The end of the Lambda's time."""

    class Slow:
        def publish(self, subject: str, text: str) -> None:
            if heard:
                raise Killed
            heard.append(subject)

    with pytest.raises(Killed):
        delivery.deliver(world.store, Slow(), "lamps.light", [OTHER, DOWN], NOW, origin=ORIGIN)
    run(world, OTHER, DOWN, now=NOW + 60)
    assert sorted([*heard, *world.subjects]) == ["HostUnseen: i-1", "RegionUnhealthy: eu-west-1"]


def test_state_that_can_never_be_written_is_no_silent_run() -> None:
    class Stubborn(MemoryTable):
        """Refuses each write."""

        def compare_and_set(self, *args: Any, **options: Any) -> None:
            return None

        def create(self, *args: Any, **options: Any) -> None:
            return None

    world = World()
    with pytest.raises(state.Contended, match=r"lamps\.light"):
        delivery.deliver(Stubborn(), world.topic, "lamps.light", [DOWN], NOW, origin=ORIGIN)
    assert world.subjects == []


def test_unreadable_events_keep_none_behind_them_from_people() -> None:
    world = World()
    for number in range(1200):
        world.store.create(f"{delivery.EVENTS_PK}#lamps.light", f"A/{number:04d}", {"text": "of another release"})
    delivery.report_event(world.store, "lamps.light", failed(1), NOW)
    told = run(world, events=True).delivered
    assert told == ("Failed: job-001", "UnreadableItem: 1200 x, first alert-events#lamps.light/A/0000")
    assert run(world, events=True, now=NOW + 60) == delivery.Delivery()


def test_unreadable_events_that_a_run_does_not_come_to_are_not_over() -> None:
    world = World()
    world.store.create(f"{delivery.EVENTS_PK}#lamps.light", "Z", {"text": "of another release"})
    assert run(world, events=True).delivered == ("UnreadableItem: alert-events#lamps.light/Z",)
    for number in range(700):
        delivery.report_event(world.store, "lamps.light", failed(number), NOW)
    assert run(world, events=True, now=NOW + 60).delivered == ("Failed: 500 x, first job-000",)
    assert run(world, events=True, now=NOW + 120) == delivery.Delivery()
    assert world.store.query(f"{delivery.EVENTS_PK}#lamps.light") == [
        world.store.get(f"{delivery.EVENTS_PK}#lamps.light", "Z")]


def test_events_of_long_names_are_told_apart() -> None:
    world = World()
    for end in "ab":
        delivery.report_event(world.store, "lamps.light", Alert("Failed", "ö" * 900 + end, "It fails", event=True),
                              NOW)
    assert all(len(item.sk.encode()) <= 1024 for item in world.store.query(f"{delivery.EVENTS_PK}#lamps.light"))
    assert len(run(world, events=True).delivered) == 2
