"""Tunnels to a primary that a promotion has closed: out of the balancer, all of them, and left alone."""

import pytest

from chalicelib.aws.client import Unavailable
from chalicelib.tunnels.state import PRIMARY_REFRESH_SECONDS
from testing.fakes import MemoryTable
from tests.tunnels.harness import Yard

DATABASES = """}
databases = {flavour = "mariadb", primary = "us-east-1", secret = "s", servers = [
  {region = "us-east-1", host = "a"}, {region = "eu-west-1", host = "b"}]"""
LONG = PRIMARY_REFRESH_SECONDS + 1


@pytest.fixture
def yard() -> Yard:
    """Two endpoints that have worked for a while."""
    made = Yard(DATABASES)
    made.rounds(10)
    return made


def fence(yard: Yard, *regions: str) -> None:
    """The shared store as `databases.promote` leaves it."""
    yard.publish("primary", "current", region="eu-west-1", term=1, since=1, fenced=list(regions))


def places(yard: Yard) -> set[str]:
    """Where the balancer has them."""
    return set(yard.targets().values())


def asked(yard: Yard, name: str) -> int:
    """How often AWS was asked for this."""
    return yard.names().count(name)


def test_all_are_taken_out_also_the_last_and_people_are_told_once(yard: Yard) -> None:
    fence(yard, "us-east-1")
    yard.round(LONG)
    yard.rounds(30)
    assert places(yard) == {"absent"} and asked(yard, "elb deregister") == 2
    assert yard.told() == ["TunnelsDrainedPrimaryFenced: eu-west-1"]


@pytest.mark.slow
def test_nothing_is_healed_and_nothing_goes_back(yard: Yard) -> None:
    fence(yard, "us-east-1")
    yard.round(LONG)
    yard.sides["i-0001"] = ("local", "refused")
    yard.rounds(100)
    assert asked(yard, "ssm send_command") == 0 and asked(yard, "elb register") == 0 and places(yard) == {"absent"}


def test_when_the_fence_is_lifted_they_go_back(yard: Yard) -> None:
    fence(yard, "us-east-1")
    yard.round(LONG)
    yard.rounds(5)
    fence(yard)
    yard.round(LONG)
    yard.rounds(20)
    assert places(yard) == {"registered"}


def test_another_region_s_fence_is_not_theirs(yard: Yard) -> None:
    fence(yard, "ap-southeast-1")
    yard.round(LONG)
    yard.rounds(5)
    assert places(yard) == {"registered"} and yard.told() == []


@pytest.mark.slow
def test_what_cannot_be_learnt_stays_as_it_was(yard: Yard) -> None:
    fence(yard, "us-east-1")
    yard.round(LONG)
    old = yard.shared

    def away(call: str) -> None:
        raise Unavailable("no replica answers")

    yard.give(MemoryTable(old.store, away))
    yard.rounds(60)
    assert places(yard) == {"absent"}
    yard.give(old)
    fence(yard)
    yard.round(LONG)
    yard.rounds(20)
    assert places(yard) == {"registered"}


def test_it_is_asked_twice_a_minute_and_not_without_databases(yard: Yard) -> None:
    reads: list[str] = []
    yard.give(MemoryTable(yard.shared.store, reads.append))
    yard.rounds(60)
    gets = [call for call in reads if call == "get"]
    assert 0 < len(gets) <= 2 * 2 * 5  # before and after each call; two a minute; others of the far side's word
    plain = Yard()
    plain.give(MemoryTable(plain.shared.store, reads.append))
    reads.clear()
    plain.rounds(10)
    assert reads.count("get") <= 2  # its own report, before it is written


def test_observe_only_says_so() -> None:
    made = Yard(', mode = "observe"' + DATABASES)
    made.rounds(10)
    fence(made, "us-east-1")
    made.round(LONG)
    made.rounds(5)
    assert asked(made, "elb deregister") == 0 and len(made.told()) == 1
