"""The primary moves to another region: the tunnels are led there, and nobody is sent to the one before."""

import msgspec
import pytest

from chalicelib.config import fleet
from chalicelib.tunnels.state import (
    ATTEMPTS_MAX,
    PEER_REPORT_PK,
    PRIMARY_REFRESH_SECONDS,
    RESTART_TIMEOUT_SECONDS,
    WRONG_PRIMARY_ALERT_SECONDS,
)
from testing.aws import denied
from tests.tunnels.fleets import HOST_KEY
from tests.tunnels.harness import FLEET, NOON, A, B, Yard

HOME, AWAY, ELSEWHERE = "us-east-1", "ap-southeast-1", "eu-west-1"
PLACE = '{name = "%s", vpc = "vpc-01234567", subnets = ["subnet-01234567"]}'
# What stands in the yard's fleet after the primary's region, up to the last brace.
HOSTS = (
    f', hosts = {{gateway = "gw.us", host_keys = ["{HOST_KEY}"], database = "db.us", regions = ['
    f'{PLACE % ELSEWHERE}, {PLACE % AWAY}], ways = [{{region = "{AWAY}", gateway = "gw.ap", host_keys = ["{HOST_KEY}"]'
    f', database = "db.ap"}}]}}}}\ndatabases = {{flavour = "mariadb", primary = "{HOME}", secret = "s", servers = ['
    + ", ".join(f'{{region = "{region}", host = "db"}}' for region in (HOME, AWAY, ELSEWHERE)) + "]")
LONG = PRIMARY_REFRESH_SECONDS + 1


@pytest.fixture
def yard() -> Yard:
    """Two hosts of ours that have worked for a while."""
    return _well(Yard(HOSTS))


def _well(yard: Yard) -> Yard:
    yard.says |= {A: HOME, B: HOME}
    yard.rounds(10)
    assert not yard.changes()
    return yard


def move(yard: Yard, region: str, *fenced: str) -> None:
    """The shared store as `databases.promote` leaves it."""
    yard.publish("primary", "current", region=region, term=1, since=1, fenced=list(fenced))


def promoted(yard: Yard, wait: float = LONG) -> None:
    """A promotion, and the round that hears of it."""
    move(yard, AWAY, HOME)
    yard.round(wait)


def connected(yard: Yard, *hosts: str, region: str = AWAY) -> None:
    """These, or both, have taken the route."""
    yard.says |= dict.fromkeys(hosts or (A, B), region)


ASKED = ["ssm put_parameter", "ssm send_command", "ssm send_command"]


def test_all_are_taken_out_at_once_led_to_the_new_primary_and_let_in_when_they_have_answered(yard: Yard) -> None:
    promoted(yard)
    assert yard.changes() == [("elb deregister", A), ("elb deregister", B), ("ssm put_parameter", AWAY),
                              ("ssm send_command", A), ("ssm send_command", B)]
    sent = [command.parameters for command in yard.aws.commands.values()]
    assert sent == [{"Action": "point", "Primary": AWAY}] * 2
    yard.rounds(8)
    assert set(yard.targets().values()) == {"absent"}, "the former primary answers through them"
    connected(yard)
    yard.rounds(4)
    assert set(yard.targets().values()) == {"absent"}
    yard.rounds(2)
    assert set(yard.targets().values()) == {"registered"} and not yard.told()
    before = len(yard.changes())
    yard.rounds(60)
    assert len(yard.changes()) == before


def test_a_promotion_that_is_under_way_leads_nobody_anywhere(yard: Yard) -> None:
    move(yard, HOME, HOME)
    yard.round(LONG)
    yard.rounds(5)
    assert yard.changes() == [("elb deregister", A), ("elb deregister", B)]
    # While the primary is fenced each round asks: they are led to the new one at once.
    promoted(yard, 2)
    assert yard.names(2) == ASKED


def test_one_that_does_not_take_the_way_is_asked_again(yard: Yard) -> None:
    promoted(yard)
    connected(yard, B)
    yard.rounds(10)
    assert yard.targets() == {A: "absent", B: "registered"}
    sent = len(yard.changes())
    yard.rounds(20)
    assert yard.changes()[sent:] == [("ssm put_parameter", AWAY), ("ssm send_command", A)]


def test_one_that_does_not_take_the_way_after_all_is_replaced_while_another_leads_there(yard: Yard) -> None:
    promoted(yard)
    connected(yard, B)
    yard.rounds(60)
    asked = [name for name, subject in yard.changes() if subject == A]
    assert asked.count("ssm send_command") == ATTEMPTS_MAX and asked[-1] == "autoscaling terminate"
    assert yard.now - NOON > 2 * RESTART_TIMEOUT_SECONDS


@pytest.mark.slow
def test_nobody_is_replaced_while_none_leads_there(yard: Yard) -> None:
    promoted(yard)
    yard.rounds(400)
    assert "autoscaling terminate" not in yard.names()
    assert yard.told().count("TunnelsOnWrongPrimary: eu-west-1") == 1
    assert "PrimaryUnreachable: eu-west-1" not in yard.told()


def test_what_answers_through_a_former_primaries_tunnel_is_no_sign_of_life(yard: Yard) -> None:
    """One is astray and answers, the other leads to the primary and fails: only a canary tells which side it is."""
    promoted(yard)
    connected(yard, B)
    yard.sides[B] = ("local", "refused")
    yard.rounds(10)
    before = len(yard.changes())
    for number in range(15):
        word(yard, AWAY)
        yard.round()
        if number == 8:
            assert [one for one in yard.changes()[before:] if one == ("ssm send_command", B)], "the canary is heard"


def word(yard: Yard, lead: str) -> None:
    """Another region's canary says that the primary in `lead` lives."""
    yard.publish(PEER_REPORT_PK, HOME, up=True, at=yard.now + 2, primary_region=lead)


def test_what_another_region_says_of_the_primary_before_is_not_believed(yard: Yard) -> None:
    promoted(yard)
    connected(yard)
    yard.rounds(10)
    yard.sides |= {A: ("local", "refused"), B: ("local", "refused")}
    for lead, acts in ((HOME, 0), (AWAY, 1)):
        before = len(yard.changes())
        for _ in range(20):
            word(yard, lead)
            yard.round()
        assert yard.names(before) == ["ssm send_command"] * acts


def test_what_this_region_says_names_the_primary_that_it_has_asked(yard: Yard) -> None:
    promoted(yard)
    connected(yard)
    yard.rounds(3)
    found = yard.shared.get(PEER_REPORT_PK, ELSEWHERE)
    assert found and found.body["primary_region"] == AWAY


@pytest.mark.parametrize(("says", "sent"), [(AWAY, False), (HOME, True)])
def test_a_host_that_comes_later_is_believed_where_it_leads(yard: Yard, says: str, sent: bool) -> None:
    promoted(yard)
    connected(yard)
    yard.rounds(10)
    yard.remove(A)
    yard.round()
    new = yard.launch()
    yard.sides[new] = ("local", "refused")
    yard.rounds(3)
    yard.says[new], yard.sides[new] = says, ("up", "answered")
    yard.rounds(10)
    assert (yard.targets()[new] == "registered") is not sent
    yard.rounds(45)  # one that is only booting is not asked for anything
    assert (("ssm send_command", new) in yard.changes()) is sent


@pytest.mark.slow
@pytest.mark.parametrize("fenced", [True, False])
def test_a_host_without_a_slot_is_taken_out_all_the_same(yard: Yard, fenced: bool) -> None:
    extra = yard.launch()  # as Auto Scaling does before it takes another away: two slots, three instances
    yard.says[extra] = HOME
    yard.rounds(3)
    assert not yard.changes()
    move(yard, HOME if fenced else AWAY, HOME)
    yard.round(LONG)
    assert yard.targets()[extra] == "absent"
    connected(yard, A, B, region=AWAY)
    move(yard, AWAY, HOME)
    yard.rounds(30)
    assert yard.targets() == {A: "registered", B: "registered", extra: "absent"}
    yard.remove(A)
    yard.rounds(60)
    assert ("ssm send_command", extra) in yard.changes()


def test_they_are_led_back(yard: Yard) -> None:
    promoted(yard)
    connected(yard)
    yard.rounds(10)
    move(yard, HOME, AWAY)
    yard.round(LONG)
    connected(yard, region=HOME)
    yard.rounds(10)
    assert ("ssm put_parameter", HOME) in yard.changes() and set(yard.targets().values()) == {"registered"}


@pytest.mark.slow
def test_a_primary_that_comes_back_before_anybody_was_led_away_finds_its_tunnels(yard: Yard) -> None:
    promoted(yard)
    yard.rounds(5)
    move(yard, HOME, AWAY)
    yard.round(LONG)
    yard.rounds(10)
    assert set(yard.targets().values()) == {"registered"}
    # The parameter still says the other region: a host that reads it says so, and is led back.
    yard.remove(A)
    yard.round()
    new = yard.launch()
    yard.says[new] = AWAY
    yard.rounds(60)
    assert yard.targets()[new] == "absent" and ("ssm put_parameter", HOME) in yard.changes()


@pytest.mark.parametrize("rejoined", [True, False])
def test_without_a_way_they_stay_out(yard: Yard, rejoined: bool) -> None:
    move(yard, ELSEWHERE, *([] if rejoined else [HOME]))
    yard.round(LONG)
    yard.rounds(20)
    assert yard.changes() == [("elb deregister", A), ("elb deregister", B)]
    assert yard.told() == ["TunnelsDrainedPrimaryFenced: eu-west-1"]


def test_fleet_toml_that_names_another_primary_leads_them_there_too(yard: Yard) -> None:
    deployed = fleet.parse(FLEET % (AWAY, HOSTS.replace(AWAY, "x").replace(HOME, AWAY).replace("x", HOME)))
    yard.context = msgspec.structs.replace(yard.context, fleet=deployed)
    yard.round(LONG)
    assert yard.names() == ["elb deregister"] * 2 + ASKED and ("ssm put_parameter", AWAY) in yard.changes()


def test_with_one_way_nobody_is_asked_and_nothing_is_done() -> None:
    one = HOSTS.replace(HOSTS[HOSTS.index(", ways"):HOSTS.index("}]}}") + 2], "")
    made = _well(Yard(one))
    made.context = msgspec.structs.replace(made.context, fleet=fleet.parse(FLEET % (
        AWAY, one.replace(AWAY, "x").replace(HOME, AWAY).replace("x", HOME))))
    made.round(LONG)
    made.rounds(60)
    assert not made.changes() and not made.told()


def test_a_round_that_sees_nothing_takes_nobody_out() -> None:
    made = Yard(HOSTS)
    made.says |= {A: HOME, B: HOME}
    made.aws.denials["elb targets"] = denied("Throttling", "DescribeTargetHealth")
    made.rounds(3)
    made.aws.denials.clear()
    made.rounds(30)
    assert not made.changes()


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "changes"), [("observe", []), ("drain", ["elb deregister"] * 2)])
def test_what_the_mode_does_not_allow_is_told(
    mode: str, changes: list[str]
) -> None:
    made = _well(Yard(f', mode = "{mode}"' + HOSTS))
    promoted(made)
    made.rounds(int(WRONG_PRIMARY_ALERT_SECONDS / 2) + 10)
    assert made.names() == changes
    assert made.told() == ["TunnelsOnWrongPrimary: eu-west-1"]


def test_a_refused_parameter_is_told_with_its_remedy(yard: Yard) -> None:
    yard.aws.denials["ssm put_parameter"] = denied("AccessDeniedException", "PutParameter")
    promoted(yard)
    assert "ssm send_command" not in yard.names()
    [text] = {text for subject, text in yard.topic.told if subject.startswith("TunnelActionDenied")}
    assert "[[tunnels.hosts.ways]]" in text


def test_by_hand_nobody_lets_in_what_is_astray_and_replaces_what_cannot_be_connected(yard: Yard) -> None:
    promoted(yard)
    answer = yard.hand("undrain", endpoint=A)
    assert answer["status"] == "refused" and f"goes to the primary in {AWAY}" in str(answer)
    assert yard.hand("replace", endpoint=A)["status"] == "refused"
    yard.rounds(47)
    assert yard.hand("replace", endpoint=A, apply=True)["status"] == "done"
    assert ("autoscaling terminate", A) in yard.changes()


def test_by_hand_nobody_lets_anything_in_while_the_primary_is_fenced(yard: Yard) -> None:
    move(yard, HOME, HOME)
    yard.round(LONG)
    assert "us-east-1 is fenced" in str(yard.hand("undrain", endpoint=A))


def test_a_record_of_the_primary_that_is_none_leaves_all_as_it_is(yard: Yard) -> None:
    for said in ({}, {"region": 7}, {"region": AWAY, "fenced": "all"}):
        there = yard.shared.get("primary", "current")
        _ = yard.shared.compare_and_set(there, said) if there else yard.shared.create("primary", "current",
                                                                                                  said)
        yard.round(LONG)
        yard.rounds(5)
    assert yard.changes() == []


def test_a_record_before_the_newest_one_that_was_seen_leads_nobody_back(yard: Yard) -> None:
    promoted(yard)
    connected(yard)
    yard.rounds(8)
    assert set(yard.targets().values()) == {"registered"}
    before, newest = len(yard.changes()), yard.shared.get("primary", "current")
    assert newest
    for restored in (None, msgspec.structs.replace(newest, version=1, body=newest.body | {
            "region": HOME, "term": 0, "fenced": []})):
        yard.shared.store.remove("primary", "current")
        if restored:
            yard.shared.store.put(restored, "", None)
        yard.round(LONG)
        yard.rounds(3)
        assert len(yard.changes()) == before and yard.state.primary_region == AWAY
        yard.shared.store.put(newest, "", None)


def test_an_own_report_of_a_clock_that_was_an_hour_ahead_is_replaced(yard: Yard) -> None:
    yard.publish("tunnel-reports", ELSEWHERE, up=True, at=yard.now + 3600)
    yard.rounds(20)
    report = yard.shared.get("tunnel-reports", ELSEWHERE)
    assert report and report.body["at"] <= yard.now
