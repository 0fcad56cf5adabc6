"""The tables are whole and sound, distances are right, and orders are nearest first."""

from collections import Counter

import botocore.session
import pytest

from chalicelib import geography
from chalicelib.geography import Point, places, regions
from tests.routing.fleets import EIGHT


def test_route53_s_own_list_is_there_as_its_guide_counts_it() -> None:
    kinds = Counter(place.kind for place in places().values())
    assert kinds == {"default": 1, "continent": 7, "country": 246, "state": 51}
    assert not {"BV", "CX", "EH", "HM"} & set(places())
    within = Counter(place.within for place in places().values() if place.kind == "country")
    assert within == {"continent:AF": 57, "AN": 3, "continent:AS": 51, "EU": 53, "continent:NA": 41, "OC": 27,
                      "continent:SA": 14}


def test_names_are_unique_and_lead_upwards_to_default() -> None:
    for name, place in places().items():
        assert place.name == name
        assert geography.around(place)[-1].name == "default"
    assert [one.name for one in geography.around(places()["US-CA"])] == ["US-CA", "US", "continent:NA", "default"]
    assert len({tuple(place.geolocation.items()) for place in places().values()}) == len(places())


@pytest.mark.slow
def test_every_region_that_boto_knows_has_its_place() -> None:
    known = botocore.session.get_session().get_available_regions("ec2")
    assert set(known) <= set(regions())


@pytest.mark.parametrize(("one", "other", "km"), [
    # Great-circle distances between cities, from any atlas.
    ("eu-west-1", "eu-west-3", 780), ("us-east-1", "us-west-2", 3470), ("ap-southeast-1", "ap-southeast-2", 6300),
    ("ap-southeast-6", "us-west-2", 11_250), ("eu-west-1", "eu-west-1", 0)])
def test_distances(one: str, other: str, km: int) -> None:
    assert regions()[one].km(regions()[other]) == pytest.approx(km, rel=0.02)


def test_distance_goes_round_the_globe() -> None:
    assert Point(0, 179).km(Point(0, -179)) == pytest.approx(222, rel=0.01)


@pytest.mark.parametrize(("place", "first"), [
    ("SE", ["eu-central-1", "eu-west-1"]), ("IE", ["eu-west-1", "eu-central-1"]), ("US-CA", ["us-west-2", "us-east-1"]),
    ("US-NY", ["us-east-1", "us-west-2"]), ("JP", ["ap-northeast-1", "ap-southeast-1"]), ("NZ", ["ap-southeast-2"]),
    ("BR", ["sa-east-1"]), ("IN", ["ap-southeast-1"]), ("AU", ["ap-southeast-2", "ap-southeast-1"]),
    ("default", list(EIGHT))])
def test_the_nearest_comes_first(place: str, first: list[str]) -> None:
    assert list(geography.orders(EIGHT)[place])[:len(first)] == first


def test_a_continent_has_the_order_that_most_of_its_countries_have() -> None:
    orders = geography.orders(EIGHT)
    for continent in (place for place in places().values() if place.kind == "continent"):
        found = Counter(orders[place.name] for place in places().values() if place.within == continent.name)
        assert found[orders[continent.name]] == max(found.values())


def test_an_own_order_holds_for_its_place_and_all_within_unless_they_have_one() -> None:
    mine, theirs = EIGHT[::-1], EIGHT[1:] + EIGHT[:1]
    orders = geography.orders(EIGHT, {"continent:NA": mine, "US-CA": theirs})
    assert (orders["continent:NA"], orders["CA"], orders["US-NY"], orders["US-CA"]) == (mine, mine, mine, theirs)
    assert orders["SE"] == geography.orders(EIGHT)["SE"]


def test_an_own_default_is_for_those_of_whom_nothing_is_known() -> None:
    orders = geography.orders(EIGHT, {"default": EIGHT[::-1]})
    assert orders["default"] == EIGHT[::-1] and orders["EU"] == geography.orders(EIGHT)["EU"]


@pytest.mark.parametrize(("name", "hint"), [("Sweden", "SE?"), ("se", "SE?"), ("US-XX", "US-"), ("?", "write it as")])
def test_a_wrong_name_gets_a_hint(name: str, hint: str) -> None:
    assert hint in geography.hint(name)
