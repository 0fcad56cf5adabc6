"""fleet.toml: mistakes in the tables that a capability brings with it, and what a stage lays over the rest."""

from pathlib import Path

import pytest

from chalicelib.config import fleet, overlay
from chalicelib.config import routing as config
from tests.config.harness import GOOD

CHECKS = '\n[health_checks]\ntarget_groups = ["web"]\n'
TUNNELS = '\n[tunnels]\nprimary = "us-east-1"\n'


@pytest.mark.parametrize(("table", "more", "said"), [
    (CHECKS, "healthy_threshold = 4", "health_checks.healthy_threshold: must be less than fixed_checks"),
    (CHECKS, "rotating_checks = 4", "health_checks.rotating_checks: at most 3 where each stays 2 minutes with a host"),
    (CHECKS, "interval = 20", "health_checks.interval: invalid enum value 20"),
    (CHECKS, 'path = "health"', "health_checks.path: expected `str` matching regex"),
    (TUNNELS, "slots = 1", "tunnels.slots: expected `int` >= 2"),
    (TUNNELS, "health_port = 3306", "tunnels.health_port: must not be the port of the tunnel itself"),
    (TUNNELS, 'every = "30s"', "tunnels.every: must lie between 1s and 20s"),
    (TUNNELS, 'stale = "5s"', "tunnels.stale: must lie between three rounds (6s) and 1m"),
    (TUNNELS, 'mode = "on"', "tunnels.mode: invalid enum value 'on'"),
    (TUNNELS, 'tag = "Role"', "tunnels.tag: expected `str` matching regex"),
    (TUNNELS, 'target_group = "a-name-that-is-longer-than-aws-allows"',
     "tunnels.target_group: expected `str` matching regex"),
    (TUNNELS, 'document = "a:b"', "tunnels.document: expected `str` matching regex"),
])
def test_a_mistake_in_a_table_is_named(table: str, more: str, said: str) -> None:
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(f"{GOOD}{table}{more}\n")
    assert str(caught.value).startswith(f"fleet.toml:25: {said}")


def test_health_checks_name_a_target_group() -> None:
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:24: health_checks.target_groups: name at least one"):
        fleet.parse(GOOD + CHECKS.replace('["web"]', "[]"))
    assert fleet.parse(GOOD + CHECKS + "interval = 30\nrotating_checks = 5").health_checks is not None


def test_the_primary_is_in_a_region_of_the_fleet_and_endpoints_are_of_one_kind() -> None:
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:24: tunnels.primary: 'us-east-2' is no region of this"):
        fleet.parse(GOOD + TUNNELS.replace("east-1", "east-2"))
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:26: tunnels.tag: give a group .* or a tag"):
        fleet.parse(GOOD + TUNNELS + 'group = "a"\ntag = "Role=tunnel"')
    read = fleet.parse(GOOD + TUNNELS).tunnels
    assert read and (read.slots, read.every, read.needs_tunnels("us-east-1"), read.needs_tunnels("eu-west-1")) == (
        2, 2, False, True)


STAGED = GOOD + """
[stages.test.schedules]
takeover_delay = "90s"

[[stages.test.regions]]
name = "us-east-1"
endpoint = {addresses = ["192.0.2.1"]}

[[stages.test.regions]]
name = "eu-west-3"

[stages.other]
queues = []
"""


def test_a_stage_lays_its_own_tables_over_the_rest() -> None:
    plain, test, other = (fleet.parse(STAGED, stage=stage) for stage in ("prod", "test", "other"))
    assert plain == fleet.parse(GOOD) and other.queues == () and other.regions == plain.regions
    assert (test.schedules.takeover_delay, test.schedules.timezone) == (90, "Europe/Stockholm")
    assert [region.name for region in test.regions] == ["eu-west-1", "us-east-1", "eu-west-3"]
    assert test.regions[1].endpoint == config.Endpoint(addresses=("192.0.2.1",)) and test.queues == plain.queues


@pytest.mark.parametrize(("before", "after", "wanted"), [
    ('takeover_delay = "90s"', 'patiense = "90s"', "fleet.toml:24: schedules.patiense: no such key"),
    ('takeover_delay = "90s"', "takeover_delay = 90",
     "fleet.toml:24: schedules.takeover_delay: expected a span of time"),
    ('"eu-west-3"', '"Paris"', "fleet.toml:31: regions.2.name: 'Paris' is not an AWS region"),
    (STAGED[len(GOOD):], "[stages]\ntest = 3\n", "fleet.toml:22: stages: expected a table for each stage")])
def test_a_mistake_of_a_stage_is_found_where_it_stands(before: str, after: str, wanted: str) -> None:
    with pytest.raises(fleet.FleetError) as found:
        fleet.parse(STAGED.replace(before, after), stage="test")
    assert str(found.value).startswith(wanted)


def test_what_another_stage_gets_wrong_does_not_matter_here() -> None:
    fleet.parse(STAGED.replace('"eu-west-3"', '"Paris"'), stage="other")


def test_the_stages_of_a_file_are_known(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(STAGED)
    (tmp_path / "broken.toml").write_text("= 3")
    assert [overlay.stages(tmp_path / name) for name in ("fleet.toml", "broken.toml", "none.toml")] == [
        ("test", "other"), (), ()]
