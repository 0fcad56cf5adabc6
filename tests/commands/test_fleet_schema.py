"""docs/fleet.schema.json: it is current, and a validator says of a fleet what the parser says."""

import json
import tomllib

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config import fleet
from commands.develop import fleet_schema
from commands.roots import PRODUCT as ROOT
from tests.config.harness import GOOD

PAGE = (ROOT / "docs" / "fleet.md").read_text()
SCHEMA = json.loads((ROOT / fleet_schema.FILE).read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)

TUNNELS = '\n[tunnels]\nprimary = "us-east-1"\n'
CHECKS = '\n[health_checks]\ntarget_groups = ["web"]\n'
STAGED = GOOD + """
[stages.test.schedules]
takeover_delay = "90s"

[[stages.test.regions]]
name = "us-east-1"
endpoint = {addresses = ["192.0.2.1"]}

[stages.other]
queues = []
"""


def refusals(text: str) -> list[str]:
    """What the schema refuses in a fleet.toml, as `path: keyword`."""
    found = VALIDATOR.iter_errors(tomllib.loads(text))
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.validator}" for error in found)


def test_the_committed_schema_is_current() -> None:
    assert (ROOT / fleet_schema.FILE).read_text() == fleet_schema.render(PAGE), (
        "run `python -m commands.develop.fleet_schema`")


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [
    GOOD, STAGED, GOOD + TUNNELS, GOOD + CHECKS + "interval = 30\nrotating_checks = 5",
                                  (ROOT / "fleet.toml").read_text()])
def test_good_fleets_are_accepted(text: str) -> None:
    fleet.parse(text)
    assert refusals(text) == []


@pytest.mark.parametrize(("before", "after", "said"), [
    ('takeover_delay = "2m"', 'patiense = "2m"', "schedules: additionalProperties"),
    ("[schedules]", "[scheduling]", ": additionalProperties"),
    ('name = "invoices"', 'name = "invoices"\nfifi = true', "queues.1: additionalProperties"),
    ('name = "invoices"', "name = 7", "queues.1.name: type"),
    ('name = "invoices"', 'name = "In voices"', "queues.1.name: pattern"),
    ('"2m"', "120", "schedules.takeover_delay: type"),
    ('"60s"', '"a minute"', "queues.0.timeout: pattern"),
    ('name = "us-east-1"', "", "regions.1: required"),
    ('[coordination]\nregions = ["eu-west-1"]', "", ": required"),
    ('takeover_delay = "2m"', 'on = "cloud"', "schedules.on: enum"),
    ('timeout = "60s"', "batch = 11", "queues.0.batch: maximum"),
    ('timeout = "60s"', "batch = 0", "queues.0.batch: minimum"),
    ('timeout = "60s"', "batch = true", "queues.0.batch: type"),
])
def test_bad_fleets_are_refused_where_they_are_bad(before: str, after: str, said: str) -> None:
    bad = GOOD.replace(before, after)
    with pytest.raises(fleet.FleetError):
        fleet.parse(bad)
    assert refusals(bad) == [said]


def test_a_stage_may_leave_out_what_the_file_has_and_nothing_else() -> None:
    misspelt = STAGED.replace('takeover_delay = "90s"', "patiense = 1")
    assert refusals(misspelt) == ["stages.test.schedules: additionalProperties"]


# For each table, keys with values of which some are good.
TABLES = {
    "[schedules]": {"timezone": ['"UTC"', '"Mars"'], "on": ['"lambda"', '"queue"', '"x"'], "patience": ['"40s"', "40"],
                    "keep": ['"15d"', '"1"'], "queue": ['"default"', "[]"]},
    "[[queues]]": {"name": ['"a"', '"A"', '"a-9"'], "fifo": ["true", "1"], "batch": ["1", "10", "11", "1.0", '"1"'],
                   "timeout": ['"1m30s"', '"0s"', "60"], "retries": ["0", "100", "-1"], "concurrency": ["2", "1"],
                   "dead_letter": ['"a-dead"', "true"]},
    "[tunnels]": {"primary": ['"us-east-1"', "1"], "slots": ["2", "9", "10"], "mode": ['"drain"', "0"],
                  "tag": ['"Role=tunnel"', '"Role"'], "every": ['"2s"', '"2"']},
}
tables = st.fixed_dictionaries({}, optional={
    heading: st.fixed_dictionaries({}, optional={key: st.sampled_from(some) for key, some in keys.items()})
    for heading, keys in TABLES.items()})
HEAD = 'name = "a"\nregions = [{name = "eu-west-1"}, {name = "us-east-1"}]\ncoordination = {regions = ["eu-west-1"]}\n'


@pytest.mark.slow
@given(tables)
def test_what_the_parser_takes_the_schema_takes(drawn: dict[str, dict[str, str]]) -> None:
    lines = [line for heading, keys in drawn.items()
             for line in (heading, *(f"{key} = {value}" for key, value in keys.items()))]
    text = HEAD + "\n".join(lines)
    try:
        fleet.parse(text)
    except fleet.FleetError:
        return
    assert refusals(text) == []


def test_every_key_has_a_meaning() -> None:
    page = PAGE.replace("| `alarm_email` |", "| `alarm_mail` |")
    with pytest.raises(LookupError, match=r"docs/fleet.md: the file has no row for the key 'alarm_email'. Add it"):
        fleet_schema.render(page)
