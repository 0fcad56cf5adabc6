"""What became of the demo's users, by the moments they told."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.config import fleet
from commands.demo import users
from commands.demo.users import Outcome, wrong
from commands.roots import PRODUCT
from sandbox.crowd import COUNTRIES, Fate, Outage, fates, settled
from sandbox.users import Moment
from tests.routing import fleets

ORDERS = {"SE": ("eu", "us"), "US": ("us", "eu")}
DIED, REVIVED, END = 100.0, 200.0, 300.0


def moments(who: str, *told: tuple[float, str]) -> list[Moment]:
    return [Moment(who, at, region, sent=10 * number, failed=number) for number, (at, region) in enumerate(told, 1)]


@pytest.mark.parametrize(("told", "found"), [
    # Its region dies; the next one answers 30 s later, and its own 40 s after it is back.
    (moments("SE", (0, "eu"), (100.2, ""), (130.2, "us"), (240, "eu")), Fate("SE", "eu", "us", 30.0, 40.0, 0.0, 40, 4)),
    # Two failures of other times are not the death's.
    (moments("SE", (0, "eu"), (50, ""), (52, "eu"), (100.2, ""), (130.2, "us"), (240, ""), (243, "eu")),
     Fate("SE", "eu", "us", 30.0, 43.0, 5.0, 70, 7)),
    # Nobody ever answers it again.
    (moments("SE", (0, "eu"), (100.2, "")), Fate("SE", "eu", "us", 199.8, None, 0.0, 20, 2)),
    # Another region's death is nothing to it.
    (moments("US", (0, "us")), Fate("US", "us", "eu", 0.0, None, 0.0, 10, 1)),
    (moments("US", (0, "us"), (101, ""), (103, "us")), Fate("US", "us", "eu", 0.0, None, 2.0, 30, 3))])
def test_a_users_fate(told: Sequence[Moment], found: Fate) -> None:
    outage = Outage("eu", True, DIED, REVIVED)
    assert fates(told, ORDERS, outage, END) == [found]  # and the other, of whom nothing is known, has none


@pytest.mark.parametrize(("now", "away", "wanted"), [
    ({"SE": "eu", "US": "us"}, (), True), ({"SE": "us", "US": "us"}, (), False), ({"SE": "eu"}, (), False),
    ({"SE": "us", "US": "us"}, ("eu",), True)])
def test_users_are_settled_where_their_order_says(now: dict[str, str], away: tuple[str, ...], wanted: bool) -> None:
    assert settled(now, ORDERS, away) is wanted


@pytest.mark.parametrize("text", [
    (PRODUCT / "fleet.toml").read_text(), fleets.text(), fleets.text(addresses=True), fleets.text(judged=True)])
def test_the_demos_hosts_and_checks_are_laid_over_any_fleet_for_its_stage_alone(text: str) -> None:
    declared = fleet.parse(text)
    hosts: Any = SimpleNamespace(zone="Z1", alias=lambda region: f"app.{region}.example.com", entrances=lambda: {
        region.name: f"192.0.2.{number}" for number, region in enumerate(declared.regions, 1)})
    more = users.declared(declared, hosts)
    assert fleet.parse(text + more, stage="prod") == declared
    found = fleet.parse(text + more, stage="demo")
    assert found.routing and found.health_checks
    assert (found.routing.hold_down, found.health_checks.healthy_threshold) == (60, 2)
    # Each newcomer is probed before an old host leaves.
    assert found.health_checks.fixed_checks + found.health_checks.rotating_checks == users.REPLACED_HOSTS


def test_settled_without_any_user_is_not_settled() -> None:
    assert not settled({}, {})


GOOD = Outcome([Fate(who, "eu", "us", 1.0, 2.0, 0.0, 9, 0) for who in COUNTRIES], 53, 170, "ap", 12.0, "us",
               users.REPLACED_HOSTS, 0)


@pytest.mark.parametrize(("change", "said"), [
    ({}, []),
    ({"users": []}, ["nothing is known of the users in AU, BR"]),
    ({"users": GOOD.users[1:]}, ["nothing is known of the users in SE"]),
    ({"users": [*GOOD.users[1:], Fate("SE", "eu", "us", 54.0, 171.0, 0.5, 9, 0)]}, [
        "SE had no answer for 54.0 s; 53 s", "SE was back only after 171.0 s", "SE had no answer for 0.5 s while"]),
    ({"evacuated_after": None}, ["ap was not evacuated"]),
    ({"hosts": 0}, ["only 0 of the 6 hosts of us were replaced"]),
    ({"verdict_changes": 2}, ["the status of us changed 2 times"])])
def test_what_did_not_hold_for_the_users_is_told(change: dict[str, Any], said: list[str]) -> None:
    lines = list(wrong(msgspec.structs.replace(GOOD, **change)))
    assert len(lines) == len(said) and all(line.startswith(one) for line, one in zip(lines, said, strict=True)), lines
