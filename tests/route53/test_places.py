"""Where addresses are."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.route53.groups import Location
from sandbox.route53.places import NOWHERE, Places

SWEDEN, FRANCE, CALIFORNIA = Location("EU", "SE"), Location("EU", "FR"), Location("NA", "US", "CA")
PLACES = Places({"203.0.113.0/24": SWEDEN, "203.0.113.128/25": FRANCE, "2001:db8::/32": CALIFORNIA,
 "127.0.0.7": FRANCE})


@pytest.mark.parametrize(("address", "place", "scope"), [
    ("203.0.113.1", SWEDEN, 25), ("203.0.113.200", FRANCE, 25), ("127.0.0.7", FRANCE, 32), ("127.0.0.6", NOWHERE, 32),
    ("8.8.8.8", NOWHERE, 2), ("2001:db8::1", CALIFORNIA, 32), ("2001:db9::1", NOWHERE, 32), ("::1", NOWHERE, 3)])
def test_the_most_specific_network_decides(address: str, place: Location, scope: int) -> None:
    assert (PLACES.of(address), PLACES.covering(address)) == (place, scope)


def test_without_a_table_nobody_is_anywhere() -> None:
    assert (Places({}).of("1.2.3.4"), Places({}).covering("1.2.3.4")) == (NOWHERE, 0)


@given(st.integers(0, 2 ** 32 - 1), st.integers(0, 2 ** 32 - 1))
def test_all_of_the_prefix_has_one_location(address: int, offset: int) -> None:
    at = str(ip_address(address))
    prefix = ip_network((at, PLACES.covering(at)), strict=False)
    other = ip_address(int(prefix.network_address) + offset % prefix.num_addresses)
    assert PLACES.of(str(other)) == PLACES.of(at)
