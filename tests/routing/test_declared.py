"""What can be wrong with routing in fleet.toml is told with its line, its key and what to do."""

import pytest

from chalicelib.config import fleet
from chalicelib.config.fleet import FleetError
from chalicelib.routing.records import build
from commands.routing.commands import example
from tests.routing.fleets import EIGHT, text

ORDER = '[[routing.preferences]]\nplaces = ["SE"]\norder = ["us-east-1", "eu-west-1", "ap-southeast-1"]\n'

# What is put in place of what, and how the error begins.
MISTAKES = [
    ("unknown place", '["SE"]', '["Sweden"]',
     "fleet.toml:17: routing.preferences.0.places: 'Sweden' is no location of Route 53; did you mean SE?"),
    ("unknown continent", '["SE"]', '["continent:XX"]',
     "fleet.toml:17: routing.preferences.0.places: 'continent:XX' is no"),
    ("order misses a region", ', "ap-southeast-1"]', "]",
     "fleet.toml:18: routing.preferences.0.order: ap-southeast-1 must be in"),
    ("order with a stranger", '"eu-west-1", "ap', '"eu-west-3", "eu-west-1", "ap',
     "fleet.toml:18: routing.preferences.0.order: eu-west-3: no region of this fleet"),
    ("order with a region twice", '"eu-west-1", "ap', '"eu-west-1", "eu-west-1", "ap',
     "fleet.toml:18: routing.preferences.0.order: names a region twice"),
    ("overlapping orders", '["SE"]', '["SE", "SE"]',
     "fleet.toml:17: routing.preferences.0.places: SE, SE: in more than one order"),
    ("no entrance", 'endpoint = {load_balancer = "app.us-east-1.elb.amazonaws.com", zone = "ZELB", '
     'bucket = "marks-us-east-1"}', "", "fleet.toml:5: regions.1: us-east-1 needs an endpoint"),
    ("nothing in it", 'load_balancer = "app.us-east-1.elb.amazonaws.com", zone = "ZELB", ', "",
     "fleet.toml:7: regions.1.endpoint: give a load_balancer or addresses"),
    ("a zone missing", 'us-east-1.elb.amazonaws.com", zone = "ZELB"', 'us-east-1.elb.amazonaws.com"',
     "fleet.toml:7: regions.1.endpoint: load_balancer and zone, the hosted zone id"),
    ("both", 'us-east-1.elb.amazonaws.com", zone = "ZELB"',
     'us-east-1.elb.amazonaws.com", zone = "Z", addresses = ["192.0.2.1"]',
     "fleet.toml:7: regions.1.endpoint: give a load_balancer or addresses, one of the two"),
    ("one entrance for two", "app.us-east-1.elb", "app.eu-west-1.elb",
     "fleet.toml:7: regions.1.endpoint: us-east-1 has the endpoint of another region"),
    ("half the capacities", 'marks-us-east-1"', 'marks-us-east-1", capacity = 2',
     "fleet.toml:2: regions: give every region's endpoint a capacity, or none"),
    ("no hostname", '"app.example.com"', '"app example"', "fleet.toml:14: routing.hostname: expected `str` matching"),
    ("long hold", 'zone = "ZONE"', 'zone = "ZONE"\nhold_down = "2d"',
     "fleet.toml:16: routing.hold_down: must lie between"),
    ("too many", 'zone = "ZONE"', 'zone = "ZONE"\nminimum_regions = 3',
     "fleet.toml:16: routing.minimum_regions: must be below 3"),
    ("long ttl", 'zone = "ZONE"', 'zone = "ZONE"\nttl = "1h"', "fleet.toml:16: routing.ttl: must lie between"),
    ("interval", 'zone = "ZONE"', 'zone = "ZONE"\ninterval = 20',
     "fleet.toml:16: routing.interval: invalid enum value 20"),
    ("demand of nowhere", 'zone = "ZONE"', 'zone = "ZONE"\ndemand = {XX = 1}',
     "fleet.toml:16: routing.demand: 'XX' is no"),
]


@pytest.mark.parametrize(("before", "after", "line"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_named_with_its_line_and_its_remedy(before: str, after: str, line: str) -> None:
    good = text(more=ORDER)
    assert good.count(before) == 1, "the table above means one place"
    with pytest.raises(FleetError) as caught:
        fleet.parse(good.replace(before, after))
    assert str(caught.value).splitlines()[0].startswith(line)


@pytest.mark.parametrize(("addresses", "ipv6", "said"), [
    ('["192.0.2.1"]', "false", ""), ('["2001:db8::1"]', "false", "needs an IPv4 address"),
    ('["192.0.2.1"]', "true", "needs an IPv4 address and, with ipv6 = true"),
    ('["192.0.2.1", "2001:db8::1"]', "true", ""),
    ('["somewhere"]', "false", "'somewhere' is not an IP address")])
def test_addresses(addresses: str, ipv6: str, said: str) -> None:
    written = text(EIGHT[:1], f"ipv6 = {ipv6}\n", addresses=True).replace('["192.0.2.1"]', addresses)
    if not said:
        assert fleet.parse(written).routing is not None
        return
    with pytest.raises(FleetError, match=said):
        fleet.parse(written)


def test_a_region_whose_place_is_unknown_is_refused() -> None:
    with pytest.raises(FleetError, match="the place of xx-north-9 is unknown"):
        fleet.parse(text(("eu-west-1", "xx-north-9")))


def test_without_the_table_nothing_is_asked_and_nothing_is_wanted() -> None:
    plain = fleet.parse('name = "a"\nregions = [{name = "eu-west-1"}]\ncoordination.regions = ["eu-west-1"]\n')
    with pytest.raises(build.RoutingError, match=r"no table \[routing\]"):
        build.wanted(plain)


def test_without_any_bucket_there_is_no_evacuation_and_the_checks_say_so() -> None:
    written = text()
    for region in EIGHT[:3]:
        written = written.replace(f', bucket = "marks-{region}"', "")
    made = build.wanted(fleet.parse(written))
    assert [name for name in made.checks if name.startswith("open-")] == []
    assert made.checks["serving-eu-west-1"]["ChildHealthChecks"] == ["alive-eu-west-1"]


def test_the_example_of_the_commands_is_a_good_fleet() -> None:
    assert build.wanted(example(EIGHT)).spec.hostname == "app.example.com"
