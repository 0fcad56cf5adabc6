"""Many alerts of one kind or of many causes at once: what people are told of them, and how the state stays small."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.engine import alert_text
from chalicelib.engine.alert_plan import (
    FEW,
    FLAP_SECONDS,
    GROUP_SECONDS,
    MANY,
    NOTIFICATIONS,
    plan_notifications,
    settle_delivery,
)
from chalicelib.engine.alerts import Alert, short_key
from testing.alerts import ORIGIN
from tests.engine.harness import NOW
from tests.engine.people import DOWN, People


def failures(minute: int, number: int = 20) -> list[Alert]:
    """Jobs that fail, each for a reason of its own."""
    return [Alert("Failed", f"job-{one}", "It exits with 1. " + "x" * 900, cause=f"KeyError: customer {minute}-{one}",
                  event=True, occurrence=str(minute), since=NOW + 60 * minute, repeat_seconds=600)
            for one in range(number)]


@pytest.mark.slow
def test_state_stays_small_however_many_causes_wait_and_all_of_them_are_told() -> None:
    people = People()
    for minute in range(60):
        assert people.look(*failures(minute), DOWN, after=60, deaf=True) == []
        assert len(msgspec.json.encode(people.state)) < 400_000
    assert "Failed/more events of this kind" in people.state.groups
    assert sum(group.count for group in people.state.groups.values()) == 60 * 20 + 1
    # What began first is still told by itself. The last notice sums up the rest.
    heard = people.look(DOWN, after=60)
    assert len(heard) == NOTIFICATIONS.limit
    assert heard[0] == "RegionUnhealthy: eu-west-1" and heard[1] == "Failed: job-0"
    assert {group.told for group in people.state.groups.values()} == {"firing"}
    # Once it is over, causes are told apart again.
    assert people.look(DOWN, after=GROUP_SECONDS) == []
    assert people.look(*failures(99, 1), DOWN, after=60) == ["Failed: job-0"]


@pytest.mark.slow
def test_conditions_of_too_many_causes_are_one_group_until_the_last_is_over() -> None:
    people = People()
    hosts = [Alert("HostUnseen", f"i-{number}", "x" * 900, cause=f"cause {number} {'y' * 150}", since=NOW - number)
             for number in range(2000)]
    people.look(*hosts)
    more = people.state.groups["HostUnseen/more of this kind"]
    assert len(msgspec.json.encode(people.state)) < 400_000
    assert more.count + len(people.state.groups) - 1 == 2000 and len(people.state.groups) > 100
    assert people.look(*hosts, after=60) == []
    assert people.state.groups["HostUnseen/more of this kind"].count == more.count
    folded = [host for host in hosts if host.group not in people.state.groups]
    over = people.look(*folded[:1], after=60)
    assert over and not [subject for subject in over if "more of this kind" in subject]
    people.look(after=FLAP_SECONDS)
    changes = {key: change for notice in people.notices for key, change, _ in notice.parts}
    assert changes["HostUnseen/more of this kind"] == "recovered"
    assert not [key for key, group in people.state.groups.items() if group.holds or group.told]


@given(st.text(max_size=2000), st.text(max_size=2000), st.integers(1, 1000))
def test_names_and_keys_of_any_length_fit(kind: str, target: str, times: int) -> None:
    people = People()
    alert = Alert(kind[:20], target * times, "It fails", cause=target * times, occurrence=target * times, event=True)
    people.look(alert)
    people.look(alert, after=60)
    [group] = people.state.groups.values()
    assert group.count == 1
    assert len(msgspec.json.encode(people.state)) < 20_000


def test_short_keys_of_long_texts_differ() -> None:
    one, other = (short_key("ä" * 600 + end, 1000) for end in "ab")
    assert one != other and one == short_key("ä" * 600 + "a", 1000)
    assert len(one.encode()) <= 1000 and short_key("a" * 1000, 1000) == "a" * 1000


def hosts(number: int, first: int = 0) -> list[Alert]:
    return [Alert("HostUnseen", f"host-{one:03d}", "It does not answer") for one in range(first, first + number)]


def test_mass_failure_that_wanes_is_no_news_until_it_holds_for_few() -> None:
    people = People()
    assert people.look(*hosts(25)) == ["HostUnseen: 25 x, first host-000"]
    for number in (25, 20, 21, 20, 13, FEW):
        assert people.look(*hosts(number), after=60) == []
    # Those that are left are known already. One that is new is not.
    assert people.look(*hosts(FEW - 1), after=60) == ["Recovered: HostUnseen: 5 x, first host-000"]
    text = alert_text.text(people.notices[-1], people.now, origin=ORIGIN)
    assert ("A few are left: host-000, host-001, host-002, host-003. Each of them is told by itself from now on."
            in text)
    assert people.look(*hosts(FEW - 1), after=60) == []
    assert people.look(*hosts(FEW - 1), *hosts(1, 900), after=60) == ["HostUnseen: host-900"]
    assert sorted(people.look(*hosts(1), after=60)) == [
        f"Recovered: HostUnseen: host-{number}" for number in ("001", "002", "003", "900")]
    # It has held for an hour by now, and is repeated as one that was told.
    assert people.look(*hosts(1), after=3600) == ["Still: HostUnseen: host-000"]
    assert people.look(after=60) == ["Recovered: HostUnseen: host-000"]


def test_mass_failure_that_ends_at_once_is_one_recovery() -> None:
    people = People()
    people.look(*hosts(25))
    assert people.look(*hosts(20), after=60) == []
    assert people.look(after=60) == ["Recovered: HostUnseen: 20 x, first host-000"]
    assert people.look(after=60) == []


def test_members_of_a_mass_failure_that_nobody_heard_of_are_told() -> None:
    people = People()
    people.look(*hosts(25), deaf=True)
    heard = people.look(*hosts(2), after=60)
    assert {"HostUnseen: host-000", "HostUnseen: host-001"} < set(heard)


def test_mass_failure_stays_one_while_it_is_not_judged() -> None:
    people = People()
    people.look(*hosts(25))
    for not_judged in ("*", "HostUnseen"):
        # As when a person looks at one host.
        assert people.look(*hosts(1), after=60, not_judged=(not_judged,)) == []
        assert people.look(after=60, not_judged=(not_judged,)) == []
    [group] = people.state.groups.values()
    assert (group.count, len(group.names)) == (25, 10)
    assert people.look(*hosts(25), after=60) == []


def test_single_one_that_recovers_during_a_mass_failure_is_told() -> None:
    people = People()
    assert people.look(*hosts(1)) == ["HostUnseen: host-000"]
    assert people.look(*hosts(30), after=60) == ["HostUnseen: 30 x, first host-000"]
    assert people.look(*hosts(20, 1), after=60) == ["Recovered: HostUnseen: host-000"]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["heard", "lost", "died"])), max_size=30))
def test_of_each_host_people_believe_what_is_so_in_the_end(runs: list[tuple[int, str]]) -> None:
    """A host is believed to be down if a notice named it, or a mass failure that it belongs to, and none took it
    back."""
    people = People()
    mass, alone = False, set[str]()

    def run(number: int, fate: str, after: float) -> None:
        nonlocal mass
        people.now += after
        planned = plan_notifications(people.state, hosts(number), people.now)
        people.state = planned.state
        for one in planned.notifications if fate != "died" else ():
            people.state = settle_delivery(people.state, one, people.now, delivered=fate == "heard")
            for _, change, group in one.parts if fate == "heard" else ():
                if group.alert.cause:
                    if change == "recovered" and mass and number:
                        # The notice names those that are left.
                        alone.update(alert.target for alert in hosts(number))
                    mass = change != "recovered"
                else:
                    (alone.discard if change == "recovered" else alone.add)(group.names[0])

    for number, fate in runs:
        run(number, fate, 60)
    last = runs[-1][0] if runs else 0
    for _ in range(5):
        run(last, "heard", FLAP_SECONDS)
    # As a mass failure it is known as a whole.
    believed = {alert.target for alert in hosts(last)} if mass else alone
    assert mass == (last > MANY) or FEW <= last <= MANY
    assert believed == {alert.target for alert in hosts(last)}
