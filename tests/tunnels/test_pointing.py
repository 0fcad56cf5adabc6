"""The master moves to another region: the tunnels are led there, and nobody is sent to the one before."""

import msgspec
import pytest

from chalicelib import fleet
from chalicelib.tunnels.records import ASTRAY_TOLD, FENCE_EVERY, RESTART, TRIES, Canary
from tests.tunnels.fleets import HOST_KEY
from tests.tunnels.yard import FLEET, A, B, Yard, refused

HOME, AWAY, ELSEWHERE = "us-east-1", "ap-southeast-1", "eu-west-1"
PLACE = '{name = "%s", vpc = "vpc-01234567", subnets = ["subnet-01234567"]}'
# What stands in the yard's fleet after the master's region, up to the last brace.
HOSTS = (
    f', hosts = {{gateway = "gw.us", host_keys = ["{HOST_KEY}"], database = "db.us", regions = ['
    f'{PLACE % ELSEWHERE}, {PLACE % AWAY}], ways = [{{region = "{AWAY}", gateway = "gw.ap", host_keys = ["{HOST_KEY}"]'
    f', database = "db.ap"}}]}}}}\ndatabases = {{flavour = "mariadb", master = "{HOME}", secret = "s", servers = ['
    + ", ".join(f'{{region = "{region}", host = "db"}}' for region in (HOME, AWAY, ELSEWHERE)) + "]")
LONG = FENCE_EVERY + 1


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Two hosts of ours that have worked for a while."""
    return _well(Yard(monkeypatch, HOSTS))


def _well(yard: Yard) -> Yard:
    yard.rounds(10)
    assert not yard.changes()
    return yard


def throne(yard: Yard, region: str, *fenced: str) -> None:
    """The coordination table as `databases.promote` leaves it."""
    there, said = yard.coordination.get("master", "current"), {
        "region": region, "term": 1, "since": 1, "fenced": list(fenced)}
    _ = yard.coordination.swap(there, said) if there else yard.coordination.create("master", "current", said)


def promoted(yard: Yard, wait: float = LONG) -> None:
    """A promotion, and the round that hears of it."""
    throne(yard, AWAY, HOME)
    yard.round(wait)


def done(yard: Yard, status: str = "Success") -> None:
    """What Run Command says of all that was sent."""
    yard.commands |= dict.fromkeys(yard.commands, (status, status))


def places(yard: Yard) -> dict[str, str]:
    """Where the balancer has them."""
    return {id: host["target"] for id, host in yard.hosts.items()}


def test_all_are_taken_out_at_once_led_to_the_new_master_and_let_in_when_they_have_answered(yard: Yard) -> None:
    promoted(yard)
    assert yard.changes() == [("deregister_targets", A), ("deregister_targets", B), ("put_parameter", AWAY),
                              ("send_command", A), ("put_parameter", AWAY), ("send_command", B)]
    sent = [asked["Parameters"] for name, asked in yard.asked if name == "send_command"]
    assert [(one["Action"], one["Master"]) for one in sent] == [(["point"], [AWAY])] * 2
    yard.rounds(3)
    assert set(places(yard).values()) == {"absent"}, "they answer, but it is not known who does"
    done(yard)
    yard.rounds(4)
    assert set(places(yard).values()) == {"absent"}
    yard.rounds(3)
    assert set(places(yard).values()) == {"registered"} and not yard.alerts.told
    assert [slot.leads for slot in yard.memory.slots] == [AWAY, AWAY]
    before = len(yard.changes())
    yard.rounds(60)
    assert len(yard.changes()) == before


def test_a_promotion_that_is_under_way_leads_nobody_anywhere(yard: Yard) -> None:
    throne(yard, HOME, HOME)
    yard.round(LONG)
    yard.rounds(5)
    assert yard.changes() == [("deregister_targets", A), ("deregister_targets", B)]
    # While the master is fenced each round asks: they are led to the new one at once.
    promoted(yard, 2)
    assert [name for name, _ in yard.changes()[2:]] == ["put_parameter", "send_command"] * 2


def test_one_that_cannot_take_the_way_is_asked_again_and_people_are_told(yard: Yard) -> None:
    promoted(yard)
    yard.commands |= {"command-0": ("Failed", "Failed"), "command-1": ("Success", "Success")}
    yard.rounds(10)
    assert places(yard) == {A: "absent", B: "registered"}
    sent = len(yard.changes())
    yard.rounds(int(RESTART / 2))
    assert [name for name, _ in yard.changes()[sent:]][:2] == ["put_parameter", "send_command"]
    yard.rounds(int(ASTRAY_TOLD / 2))
    assert "TunnelsAstray: eu-west-1" in [subject for subject, _ in yard.alerts.told]


def test_one_that_cannot_take_the_way_after_all_is_replaced_while_another_leads_there(yard: Yard) -> None:
    promoted(yard)
    for _ in range(200):
        done(yard)
        yard.commands |= {id: ("Failed", "Failed") for (id, _), (name, asked) in zip(
            yard.commands.items(), [one for one in yard.asked if one[0] == "send_command"], strict=True)
            if asked["InstanceIds"] == [A]}
        yard.round()
    names = [name for name, subject in yard.changes() if subject == A]
    assert names.count("send_command") == TRIES
    assert names[-1] == "terminate_instance_in_auto_scaling_group"


def test_nobody_is_replaced_while_none_leads_there(yard: Yard) -> None:
    promoted(yard)
    for _ in range(200):
        done(yard, "Failed")
        yard.round()
    assert "terminate_instance_in_auto_scaling_group" not in [name for name, _ in yard.changes()]
    told = [subject for subject, _ in yard.alerts.told]
    assert told.count("TunnelsAstray: eu-west-1") == 1 and "FarSideDown: eu-west-1" not in told


def test_what_another_region_says_of_the_master_before_is_not_believed(yard: Yard) -> None:
    promoted(yard)
    done(yard)
    yard.rounds(10)
    yard.sides |= {A: ("local", "refused"), B: ("local", "refused")}
    for lead, acts in ((HOME, 0), (AWAY, 1)):
        before = len(yard.changes())
        for _ in range(20):
            there = yard.coordination.get("far", HOME)
            word = {"up": True, "at": yard.now + 2, "lead": lead}
            _ = yard.coordination.swap(there, word) if there else yard.coordination.create("far", HOME, word)
            yard.round()
        assert [name for name, _ in yard.changes()[before:]] == ["send_command"] * acts


def test_what_this_region_says_names_the_master_that_it_has_asked(yard: Yard) -> None:
    promoted(yard)
    done(yard)
    yard.rounds(3)
    found = yard.coordination.get("far", ELSEWHERE)
    assert found and Canary(**found.body).lead == AWAY


def test_a_host_that_comes_later_leads_to_the_new_master_by_itself(yard: Yard) -> None:
    promoted(yard)
    done(yard)
    yard.rounds(10)
    before = len(yard.changes())
    del yard.hosts[A]
    yard.round()
    new = yard.launch()
    yard.rounds(10)
    assert yard.slot(new).leads == AWAY and yard.slot(new).phase == "healthy"
    assert ("send_command", new) not in yard.changes()[before:]


def test_a_host_that_came_before_and_gets_a_slot_later_is_led_there(yard: Yard) -> None:
    extra = yard.launch()  # as Auto Scaling does before it takes another away: two slots, three instances
    yard.rounds(3)
    promoted(yard)
    done(yard)
    yard.rounds(10)
    del yard.hosts[A]
    yard.rounds(3)
    assert ("send_command", extra) in yard.changes() and yard.slot(extra).leads == ""


def test_they_are_led_back(yard: Yard) -> None:
    promoted(yard)
    done(yard)
    yard.rounds(10)
    throne(yard, HOME, AWAY)
    yard.round(LONG)
    done(yard)
    yard.rounds(10)
    assert [slot.leads for slot in yard.memory.slots] == [HOME, HOME] and set(places(yard).values()) == {"registered"}
    assert ("put_parameter", HOME) in yard.changes()


def test_without_a_way_they_stay_out_as_long_as_the_master_is_fenced(yard: Yard) -> None:
    throne(yard, ELSEWHERE, HOME)
    yard.round(LONG)
    yard.rounds(20)
    assert yard.changes() == [("deregister_targets", A), ("deregister_targets", B)]
    assert [subject for subject, _ in yard.alerts.told] == ["TunnelsSevered: eu-west-1"]


def test_fleet_toml_that_names_another_master_leads_them_there_too(yard: Yard) -> None:
    deployed = fleet.parse(FLEET % (AWAY, HOSTS.replace(AWAY, "x").replace(HOME, AWAY).replace("x", HOME)))
    yard.site = msgspec.structs.replace(yard.site, fleet=deployed)
    yard.round(LONG)
    assert [name for name, _ in yard.changes()] == ["deregister_targets"] * 2 + ["put_parameter", "send_command"] * 2
    assert ("put_parameter", AWAY) in yard.changes()


@pytest.mark.parametrize(("mode", "names"), [("observe", []), ("drain", ["deregister_targets"] * 2)])
def test_what_the_mode_does_not_allow_is_told(monkeypatch: pytest.MonkeyPatch, mode: str, names: list[str]) -> None:
    made = _well(Yard(monkeypatch, f', mode = "{mode}"' + HOSTS))
    promoted(made)
    made.rounds(int(ASTRAY_TOLD / 2) + 10)
    assert [name for name, _ in made.changes()] == names
    assert [subject for subject, _ in made.alerts.told] == ["TunnelsAstray: eu-west-1"]


def test_a_refused_parameter_is_told_with_its_remedy(yard: Yard) -> None:
    yard.broken["put_parameter"] = refused("AccessDeniedException", "PutParameter")
    promoted(yard)
    assert "send_command" not in [name for name, _ in yard.changes()]
    [text] = {text for subject, text in yard.alerts.told if subject.startswith("TunnelActRefused: point")}
    assert "[[tunnels.hosts.ways]]" in text


def test_by_hand_nobody_lets_in_what_is_astray_and_replaces_what_cannot_be_led(yard: Yard) -> None:
    promoted(yard)
    answer = yard.hand("undrain", endpoint=A)
    assert answer["status"] == "refused" and f"lead to the master in {AWAY} yet" in str(answer)
    assert yard.hand("replace", endpoint=A)["status"] == "refused"
    for _ in range(60):
        done(yard, "Failed")
        yard.round()
    done(yard, "Failed")
    yard.rounds(2)
    assert yard.hand("replace", endpoint=A, apply=True)["status"] == "done"
    assert ("terminate_instance_in_auto_scaling_group", A) in yard.changes()


def test_a_record_of_the_master_that_is_none_leaves_all_as_it_is(yard: Yard) -> None:
    for said in ({}, {"region": 7}, {"region": AWAY, "fenced": "all"}):
        there = yard.coordination.get("master", "current")
        _ = yard.coordination.swap(there, said) if there else yard.coordination.create("master", "current", said)
        yard.round(LONG)
        yard.rounds(5)
    assert yard.changes() == []
