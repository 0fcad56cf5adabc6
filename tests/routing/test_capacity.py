"""After any single loss no region is handed more than it declares; what cannot be had is refused."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib import geography
from chalicelib.config import fleet
from chalicelib.geography import Order, places
from chalicelib.routing.records import build, capacity, verify
from chalicelib.routing.records.capacity import CapacityError
from sandbox.route53 import answers as twin
from tests.routing.fleets import EIGHT, location, text

SIX = {"eu-west-1": 0.181, "us-east-1": 0.325, "ap-southeast-1": 0.392, "us-west-2": 0.169, "eu-central-1": 0.446,
       "ap-northeast-1": 0.401}


def own(orders: dict[str, Order], demand: dict[str, float]) -> dict[str, float]:
    """What each region is asked for with all alive."""
    found = dict.fromkeys(next(iter(orders.values())), 0.0)
    for place, users in demand.items():
        found[orders[place][0]] += users
    return found


@pytest.mark.slow
@given(st.integers(3, 8), st.data())
def test_no_region_is_handed_more_than_it_declares_by_any_single_loss(size: int, data: st.DataObject) -> None:
    orders = geography.orders(EIGHT[:size])
    named = data.draw(st.lists(st.sampled_from(sorted(places())), min_size=1, max_size=30, unique=True))
    demand = {name: float(data.draw(st.integers(1, 1000))) for name in named}
    load = own(orders, demand)
    most = {region: load[region] + data.draw(st.integers(1, 1500)) for region in load}
    try:
        spread = capacity.weighted_failovers(orders, demand, most)
    except CapacityError:
        # Refused only if a loss has no room, or leaves less than rounding may need.
        assert any(sum(most[other] - load[other] - load[lost] / 255 for other in load if other != lost) < load[lost]
                   or any(most[other] - load[other] < load[lost] / 255 for other in load if other != lost)
                   for lost in load)
        return
    for loss in capacity.losses(orders, demand, spread):
        assert sum(loss.handed.values()) == pytest.approx(loss.users)
        for region, users in loss.handed.items():
            assert load[region] + users <= most[region] + 1e-6, (loss, region)


@pytest.mark.slow
def test_the_records_share_out_a_dead_region_s_users_as_planned() -> None:
    made = build.wanted(fleet.parse(text(EIGHT[:6], capacity=SIX)))
    assert len(made.spec.spreads) > 10
    proof = verify.prove(made.spec, made.compiled, made.checks)
    assert proof.wrong == () and proof.most_aliases <= 6
    demand, zone = capacity.urban_population_shares(), twin.Zone(made.compiled.records)
    orders = dict(made.spec.orders)
    for lost in EIGHT[:6]:
        healthy = {f"serving-{region}": region != lost for region in EIGHT[:6]}
        got = dict.fromkeys(EIGHT[:6], Fraction(0))
        for name, users in demand.items():
            query = twin.Query(location(places()[name]), healthy)
            for values, share in zone.shares("app.example.com.", "A", query).items():
                got[values[0].split(".")[1]] += share * Fraction(users)
        assert got[lost] == 0 and float(sum(got.values())) == pytest.approx(1)
        assert all(users <= SIX[region] for region, users in got.items())
    assert own(orders, demand)["eu-central-1"] < SIX["eu-central-1"]


def test_where_the_second_choice_has_room_nothing_is_spread() -> None:
    assert capacity.weighted_failovers(geography.orders(EIGHT[:4]), capacity.urban_population_shares(),
                                       dict.fromkeys(EIGHT[:4], 1.0)) == {}


def test_weights_add_up_to_255_and_none_is_nothing() -> None:
    made = build.wanted(fleet.parse(text(EIGHT[:6], capacity=SIX)))
    for spread in made.spec.spreads.values():
        assert sum(weight for _, weight in spread.weights) == 255 and min(weight for _, weight in spread.weights) > 0


@pytest.mark.parametrize(("most", "said"), [
    ({"eu-west-1": 0.1, "us-east-1": 1.0, "ap-southeast-1": 1.0}, "eu-west-1 is nearest to 0.306 and declares 0.1"),
    ({"eu-west-1": 0.7, "us-east-1": 0.2, "ap-southeast-1": 0.9}, "if ap-southeast-1 dies, 0.505 must go elsewhere")
])  # fmt: skip
def test_too_little_capacity_is_refused_with_what_is_missing(most: dict[str, float], said: str) -> None:
    with pytest.raises(build.RoutingError) as caught:
        build.wanted(fleet.parse(text(capacity=most)))
    assert said in str(caught.value)


def test_own_demand_counts_instead_of_townspeople() -> None:
    most = dict.fromkeys(EIGHT[:3], 100.0)
    made = build.wanted(fleet.parse(text(more="demand = {SE = 60, US-NY = 50, SG = 5}\n", capacity=most)))
    # Europe's 60 find room for 50 in us-east-1, America's 50 for 40 in eu-west-1; the rest goes to ap-southeast-1.
    weights = {order[0]: dict(spread.weights) for order, spread in made.spec.spreads.items()}
    assert weights["eu-west-1"]["us-east-1"] == pytest.approx(255 * 50 / 60, abs=2)
    assert weights["us-east-1"]["eu-west-1"] == pytest.approx(255 * 40 / 50, abs=2)
    assert set(weights) == {"eu-west-1", "us-east-1"}


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(EIGHT), st.floats(0.01, 5), min_size=2))
def test_rounding_moves_less_than_one_part_in_255(part: dict[str, float]) -> None:
    users = sum(part.values())
    assume(users > 0.1)
    weights = dict(capacity._weights(part, users).weights)
    assert sum(weights.values()) == 255
    assert all(abs(weights.get(region, 0) - 255 * value / users) < 1 + 1e-9 for region, value in part.items())
