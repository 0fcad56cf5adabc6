"""What is due, given what was told before and what holds now."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine import alert_text
from chalicelib.engine.alert_plan import (
    ATTEMPT_SECONDS,
    FLAP_SECONDS,
    GROUP_SECONDS,
    MANY,
    NOTIFICATIONS,
    plan_notifications,
    settle_delivery,
)
from chalicelib.engine.alerts import Alert, AlertState
from chalicelib.engine.schema import ItemKey, Unreadable
from testing.alerts import ORIGIN
from tests.engine.harness import NOW
from tests.engine.people import DOWN, People, failed


def test_condition_is_told_as_it_begins_repeated_and_told_to_be_over() -> None:
    people = People()
    assert people.look(DOWN) == ["RegionUnhealthy: eu-west-1"]
    assert people.look(DOWN, after=60) == []
    assert people.look(DOWN, after=3539) == []
    assert people.look(DOWN, after=1) == ["Still: RegionUnhealthy: eu-west-1"]
    assert people.look(after=60) == ["Recovered: RegionUnhealthy: eu-west-1"]
    assert people.look(after=60) == []
    assert people.look(after=FLAP_SECONDS) == []
    assert people.state.groups == {}


def test_condition_without_repeat_is_told_once() -> None:
    people, once = People(), msgspec.structs.replace(DOWN, repeat_seconds=0)
    assert people.look(once) == ["RegionUnhealthy: eu-west-1"]
    assert people.look(once, after=1e6) == []


def test_lost_notice_is_due_again_at_once_until_it_is_delivered() -> None:
    people = People()
    for _ in range(3):
        assert people.look(DOWN, after=2, deaf=True) == []
    assert people.look(DOWN, after=2) == ["RegionUnhealthy: eu-west-1"]
    assert people.look(DOWN, after=2) == []
    assert people.look(after=2, deaf=True) == []
    assert people.look(after=2) == ["Recovered: RegionUnhealthy: eu-west-1"]


def test_run_that_died_between_writing_and_publishing_is_made_up_for() -> None:
    planned = plan_notifications(AlertState(), [DOWN], NOW)
    assert len(planned.notifications) == 1
    # An overlapping run leaves it to the first, for as long as that may be at it.
    assert plan_notifications(planned.state, [DOWN], NOW + ATTEMPT_SECONDS - 1).notifications == ()
    assert len(plan_notifications(planned.state, [DOWN], NOW + ATTEMPT_SECONDS).notifications) == 1
    # And should it be over by then, people who may have heard of it hear that it is.
    [over] = plan_notifications(planned.state, [], NOW + ATTEMPT_SECONDS).notifications
    assert over.change == "recovered"
    assert "may not have reached you" in alert_text.text(over, NOW + 60, origin=ORIGIN)


def test_overlapping_run_whose_clock_is_behind_does_not_publish_the_same_notice() -> None:
    planned = plan_notifications(AlertState(), [DOWN], NOW)
    for behind in (0.5, ATTEMPT_SECONDS - 1):
        assert plan_notifications(planned.state, [DOWN], NOW - behind).notifications == ()
    assert len(plan_notifications(planned.state, [DOWN], NOW - ATTEMPT_SECONDS).notifications) == 1


def test_what_came_back_within_the_window_is_not_told_while_nobody_can_judge_it() -> None:
    people, unseen = People(), ("RegionUnhealthy",)
    people.look(DOWN)
    people.look(after=60)
    assert people.look(DOWN, after=60) == []
    assert people.look(after=FLAP_SECONDS, not_judged=unseen) == people.look(after=60, not_judged=unseen) == []
    assert people.look(DOWN, after=60) == ["RegionUnhealthy: eu-west-1"]


def test_what_was_never_told_is_told_also_while_nobody_can_judge_it() -> None:
    people = People()
    assert people.look(DOWN, deaf=True) == []
    assert people.look(after=60, not_judged=("RegionUnhealthy",)) == ["RegionUnhealthy: eu-west-1"]


def test_what_comes_and_goes_is_told_once_each_way_within_the_window() -> None:
    people = People()
    for number in range(55):
        people.look(*([DOWN] if number % 2 == 0 else []), after=10)
    assert people.heard == ["RegionUnhealthy: eu-west-1", "Recovered: RegionUnhealthy: eu-west-1"]
    for _ in range(10):
        people.look(DOWN, after=10)
    assert people.heard[2:] == ["RegionUnhealthy: eu-west-1"]
    assert "has come and gone 27 times" in alert_text.text(people.notices[-1], people.now, origin=ORIGIN)


def test_kind_that_was_not_judged_is_not_over() -> None:
    for not_judged in (("RegionUnhealthy",), ("*",)):
        people = People()
        people.look(DOWN)
        assert people.look(after=60, not_judged=not_judged) == []
        assert people.look(after=60, not_judged=("Other",)) == ["Recovered: RegionUnhealthy: eu-west-1"]


def test_200_jobs_that_fail_for_one_reason_within_ten_minutes_are_at_most_two_notices() -> None:
    people = People()
    for number in range(200):
        people.look(failed(f"job-{number:03d}"), after=3)
    for _ in range(30):
        people.look(after=60)
    assert people.heard == ["Failed: job-000", "More: Failed: 200 x, first job-000"]
    text = alert_text.text(people.notices[-1], people.now, origin=ORIGIN)
    assert "It has happened 200 times. The first that it happened to: job-000, job-001, " in text
    assert "job-009." in text
    assert people.state.groups == {}


def test_200_jobs_that_fail_at_once_are_one_notice() -> None:
    people = People()
    assert people.look(*(failed(f"job-{number}") for number in range(200))) == ["Failed: 200 x, first job-0"]
    assert [people.look(after=60) for _ in range(30)] == [[]] * 30


def test_same_event_counts_once_and_one_of_another_slot_anew() -> None:
    people = People()
    people.look(failed("a"), failed("a"))
    people.look(failed("a"), failed("a", "12:05"), after=60)
    assert people.state.groups["Failed/exit 1"].count == 2


def test_event_is_neither_repeated_nor_over() -> None:
    people = People()
    assert people.look(failed("a")) == ["Failed: a"]
    assert [people.look(after=1800) for _ in range(10)] == [[]] * 10
    assert people.look(failed("a", "18:00")) == ["Failed: a"]


def test_group_tells_its_growth_and_is_over_with_its_last() -> None:
    people = People()
    hosts = [Alert("HostUnseen", name, "It does not answer", cause="timeout") for name in "abcd"]
    assert people.look(hosts[0]) == ["HostUnseen: a"]
    assert people.look(*hosts, after=60) == []
    assert people.look(*hosts, after=GROUP_SECONDS) == ["More: HostUnseen: 4 x, first a"]
    assert people.look(hosts[3], after=60) == []
    assert people.look(after=60) == ["Recovered: HostUnseen: d"]


def test_more_than_anybody_would_read_is_summed_up() -> None:
    people = People()
    alerts = [Alert(f"Kind{number:03d}", "host", "It does not answer") for number in range(300)]
    heard = people.look(*alerts)
    assert len(heard) == NOTIFICATIONS.limit
    assert heard[-1] == "281 alerts, the first of them Kind019: host"
    text = alert_text.text(people.notices[-1], NOW, origin=ORIGIN)
    assert text.count("\n- Kind") == 50
    assert "- and 231 more" in text
    # All of them are known now; nothing is repeated, and what is new is heard within a minute.
    assert people.look(*alerts, after=2) == []
    assert people.look(*alerts, DOWN, after=57) == []
    assert people.look(*alerts, DOWN, after=1) == ["RegionUnhealthy: eu-west-1"]
    assert len(msgspec.json.encode(people.state)) < 350_000


def test_mass_failure_is_one_notice_and_single_ones_that_were_told_are_not_over() -> None:
    people = People()
    hosts = [Alert("HostUnseen", f"host-{number:03d}", "It does not answer") for number in range(300)]
    assert people.look(hosts[0]) == ["HostUnseen: host-000"]
    assert people.look(*hosts, after=60) == ["HostUnseen: 300 x, first host-000"]
    assert people.look(*hosts, after=60) == []
    assert people.look(hosts[0], after=60) == ["Recovered: HostUnseen: 300 x, first host-000"]
    assert people.look(after=60) == ["Recovered: HostUnseen: host-000"]
    assert len(people.look(*hosts[50:50 + MANY], after=GROUP_SECONDS)) == MANY


def test_state_of_hundreds_of_undelivered_alerts_fits_into_an_item() -> None:
    people = People()
    people.look(*(Alert(f"Kind{number // MANY}", f"host-{number}", "x" * 5000, steps=("y" * 5000,))
                  for number in range(30 * MANY)), deaf=True)
    assert len(people.state.groups) == 30 * MANY
    assert len(msgspec.json.encode(people.state)) < 400_000


def test_state_is_not_written_while_nothing_changes_but_the_text() -> None:
    people = People()
    people.look(DOWN)
    before = people.state
    people.look(msgspec.structs.replace(DOWN, problem="No host answers, for 2 s"), after=2)
    assert people.state is before


def test_clock_that_went_back_silences_nothing() -> None:
    people = People()
    people.now += 1e8
    people.look(DOWN)
    people.now = NOW
    people.look(DOWN)
    assert people.look(DOWN, after=3600) == ["Still: RegionUnhealthy: eu-west-1"]


def test_text_says_what_since_when_what_was_tried_and_what_to_do_in_this_order() -> None:
    alert = msgspec.structs.replace(DOWN, tried=("The region was taken out of DNS.",),
                                    steps=("Look at the load balancer", "Call `lamp status`."))
    [one] = plan_notifications(AlertState(), [alert], NOW).notifications
    assert alert_text.text(one, NOW + 60, origin=ORIGIN) == """\
WHAT IS WRONG: No host answers.
SINCE: 2027-01-15 07:59:30 UTC (1m30s ago).

WHAT HAS BEEN TRIED:
- The region was taken out of DNS.

WHAT TO DO NOW:
1. Look at the load balancer.
2. Call `lamp status --stage test --region eu-west-1`.

READ MORE: docs/runbook.md#regionunhealthy

From lamps.light in eu-west-1, stage test, Lamplighter 0.0.0."""


def test_alert_about_unreadable_items_names_them_and_how_to_look_at_them() -> None:
    people = People()
    bad = [Unreadable(ItemKey("lamp-test in eu-west-1", f"run#job-{number}", "12:00"), "its body is empty")
           for number in range(40)]
    assert people.look(*map(alert_text.unreadable_alert, bad)) == ["UnreadableItem: 40 x, first run#job-0/12:00"]
    text = alert_text.text(people.notices[0], NOW, origin=ORIGIN)
    assert "run#job-0/12:00 in lamp-test in eu-west-1 (its body is empty)" in text
    assert ("aws dynamodb get-item --region eu-west-1 --table-name lamp-test --key "
            """'{"pk":{"S":"run#job-0"},"sk":{"S":"12:00"}}'""") in text


def test_long_texts_are_cut() -> None:
    people = People()
    people.look(msgspec.structs.replace(DOWN, problem="x" * 100_000, steps=("y" * 100_000,) * 20))
    assert len(msgspec.json.encode(people.state)) < 10_000


KINDS = [Alert("A", "a", "a"), Alert("B", "b", "b"), Alert("C", "1", "c", cause="z"), Alert("C", "2", "c", cause="z")]
RUNS = st.lists(st.tuples(st.floats(1, 90), st.sets(st.integers(0, 3)), st.sampled_from(["heard", "lost", "died"])),
                max_size=60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["A", "B", "C"])
@given(RUNS)
def test_people_believe_what_is_so_within_a_flap_window(kind: str, runs: list[tuple[float, set[int], str]]) -> None:
    """Whatever gets lost: some quiet runs later people know of each kind whether it holds."""
    people = People()
    belief: dict[str, bool] = {}

    def run(wanted: list[Alert], after: float, fate: str) -> None:
        people.now += after
        planned = plan_notifications(people.state, wanted, people.now)
        people.state = planned.state
        for one in planned.notifications if fate != "died" else ():
            people.state = settle_delivery(people.state, one, people.now, delivered=fate == "heard")
            if fate == "heard":
                belief[one.group.alert.kind] = one.change != "recovered"

    for after, numbers, fate in runs:
        run([KINDS[number] for number in sorted(numbers)], after, fate)
    last = [KINDS[number] for number in sorted(runs[-1][1])] if runs else []
    for _ in range(3):
        run(last, FLAP_SECONDS, "heard")
    assert belief.get(kind, False) == any(alert.kind == kind for alert in last)


@pytest.mark.slow
@given(RUNS)
def test_notices_are_few_whatever_comes_and_goes(runs: list[tuple[float, set[int], str]]) -> None:
    people = People()
    for after, numbers, _ in runs:
        people.look(*(KINDS[number] for number in sorted(numbers)), after=after)
    spans = 1 + (people.now - NOW) // FLAP_SECONDS
    assert len(people.heard) <= 3 * 2 * (spans + 1)
