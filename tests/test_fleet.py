"""fleet.toml: every mistake is named with its file, line, key and remedy, and docs/fleet.md tells every key."""

import json
import re
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import durations, fleet, overlay
from chalicelib.databases import declared as databases
from chalicelib.routing import declared
from chalicelib.tunnels import declared as tunnels
from chalicelib.tunnels import hosts
from commands import packaging

ROOT = Path(__file__).resolve().parent.parent

GOOD = """\
name = "lamplighter"

[[regions]]
name = "eu-west-1"

[[regions]]
name = "us-east-1"

[coordination]
regions = ["eu-west-1"]

[schedules]
timezone = "Europe/Stockholm"
patience = "2m"

[[queues]]
name = "default"
timeout = "60s"

[[queues]]
name = "invoices"
"""

# What is put in place of what, and the one line that must come of it.
MISTAKES = [
    ("unknown key", 'patience = "2m"', 'patiense = "2m"', "fleet.toml:14: schedules.patiense: no such key; remove it"),
    ("unknown table", "[schedules]", "[scheduling]", "fleet.toml:12: scheduling: no such key; remove it"),
    ("unknown key in a list", 'name = "invoices"', 'name = "invoices"\nfifi = true',
     "fleet.toml:22: queues.1.fifi: no such key"),
    ("wrong type", 'name = "invoices"', "name = 7", "fleet.toml:21: queues.1.name: expected `str`, got `int`"),
    ("wrong type above", 'name = "lamplighter"', "name = []", "fleet.toml:1: name: expected `str`, got `array`"),
    ("number for a span", '"2m"', "120",
     'fleet.toml:14: schedules.patience: expected a span of time in quotes, as in "10m"'),
    ("not a span", '"60s"', '"a minute"', "fleet.toml:18: queues.0.timeout: 'a minute' is not a span of time"),
    ("missing key", 'name = "us-east-1"', "", "fleet.toml:6: regions.1: the key 'name' is missing here; add it"),
    ("missing table", '[coordination]\nregions = ["eu-west-1"]', "",
     "fleet.toml:1: the file: the key 'coordination' is missing"),
    ("not a region", '"us-east-1"', '"Virginia"', "fleet.toml:7: regions.1.name: 'Virginia' is not an AWS region"),
    ("region twice", '"us-east-1"', '"eu-west-1"', "fleet.toml:7: regions.1.name: 'eu-west-1' stands here 2 times"),
    ("queue twice", '"invoices"', '"default"',
     "fleet.toml:21: queues.1.name: 'default' stands here 2 times; remove or rename"),
    ("two coordination regions", '["eu-west-1"]', '["eu-west-1", "eu-west-2"]',
     "fleet.toml:10: coordination.regions: name one region, or"),
    ("three of two sets", '["eu-west-1"]', '["eu-west-1", "eu-west-2", "us-east-1"]',
     "fleet.toml:10: coordination.regions: name one"),
    ("one region three times", '["eu-west-1"]', '["eu-west-1", "eu-west-1", "eu-west-2"]',
     "fleet.toml:10: coordination.regions: name"),
    ("too impatient", '"2m"', '"10s"', "fleet.toml:14: schedules.patience: must lie between 30s and 5m"),
    ("target without its table", 'patience = "2m"', 'on = "ecs"',
     "fleet.toml:14: schedules.on: 'ecs' needs a table [schedules.ecs]"),
    ("unknown target", 'patience = "2m"', 'on = "cloud"', "fleet.toml:14: schedules.on: invalid enum value 'cloud'"),
    ("longer than a Lambda", '"60s"', '"20m"',
     "fleet.toml:18: queues.0.timeout: must lie between 1s and 14m: a Lambda ends"),
    ("a name of ours", '"invoices"', '"schedule-runs"',
     "fleet.toml:21: queues.1.name: 'schedule-runs' is kept for Lamplighter"),
    ("out of range", 'timeout = "60s"', "batch = 11", "fleet.toml:18: queues.0.batch: expected `int` <= 10"),
    ("coordination outside of AWS", '["eu-west-1"]', '["Ireland"]',
     "fleet.toml:10: coordination.regions: 'Ireland' is not an AWS region; write it as in eu-west-1"),
    ("a name too long for Lambda", '"lamplighter"', f'"{"a" * 21}"',
     f"fleet.toml:1: name: '{'a' * 21}' is longer than 20 characters: Lambda's 64 also hold the stage and the"),
    ("a name with a newline", '"lamplighter"', '"lamplighter\\n"', "fleet.toml:1: name: expected `str` matching regex"),
    ("no address", 'name = "lamplighter"', 'name = "lamplighter"\nalarm_email = "ops@example"',
     "fleet.toml:2: alarm_email: 'ops@example' is not a mail address; write it as in ops@example.org"),
    ("no zone", '"Europe/Stockholm"', '"europe/stockholm"',
     "fleet.toml:13: schedules.timezone: unknown time zone 'europe/stockholm': write Europe/Stockholm"),
    ("a path for a zone", '"Europe/Stockholm"', '"../zones"',
     "fleet.toml:13: schedules.timezone: unknown time zone '../zones': write"),
    ("no such queue", 'patience = "2m"', 'queue = "invoice"',
     "fleet.toml:14: schedules.queue: no queue is called 'invoice'; declare it, or write one of: default, invoices"),
    ("runs forgotten too early", 'patience = "2m"', 'keep = "14d23h"',
     "fleet.toml:14: schedules.keep: must lie between 15d and 400d: runs must be known longer than SQS keeps messages"),
    ("runs kept too long", 'patience = "2m"', 'keep = "401d"',
     "fleet.toml:14: schedules.keep: must lie between 15d and 400d"),
    ("dead letters of ours", 'timeout = "60s"', 'dead_letter = "schedule-runs-dead"',
     "fleet.toml:18: queues.0.dead_letter: 'schedule-runs-dead' is kept for Lamplighter's own queues; choose another"),
    ("dead letters nowhere", 'timeout = "60s"', 'dead_letter = "invoice"',
     "fleet.toml:18: queues.0.dead_letter: no queue is called 'invoice'; declare it, or let the name end in -dead"),
    ("FIFO to standard", 'timeout = "60s"', 'fifo = true\ndead_letter = "invoices"',
     "fleet.toml:19: queues.0.dead_letter: 'invoices' is a standard queue and 'default' a FIFO one; name a FIFO queue"),
    ("standard to FIFO", 'timeout = "60s"\n\n[[queues]]\nname = "invoices"',
     'dead_letter = "invoices"\n\n[[queues]]\nname = "invoices"\nfifo = true',
     "fleet.toml:18: queues.0.dead_letter: 'invoices' is a FIFO queue and 'default' a standard one; name a standard"),
    ("dead letters of both kinds", 'timeout = "60s"', 'fifo = true\ndead_letter = "invoices-dead"',
     "fleet.toml:19: queues.0.dead_letter: 'invoices-dead' is a standard queue and 'default' a FIFO one"),
    ("dead letters shared by both kinds", 'timeout = "60s"\n\n[[queues]]\nname = "invoices"',
     'dead_letter = "lost-dead"\n\n[[queues]]\nname = "invoices"\nfifo = true\ndead_letter = "lost-dead"',
     "fleet.toml:23: queues.1.dead_letter: 'lost-dead' is a standard queue and 'invoices' a FIFO one"),
    ("a circle of one", 'timeout = "60s"', 'dead_letter = "default"',
     "fleet.toml:18: queues.0.dead_letter: default -> default goes round in a circle; let one of them end elsewhere"),
    ("a byte order mark", 'name = "lamplighter"', '\ufeffname = "lamplighter"',
     "fleet.toml:1: begins with a byte order mark; save it as UTF-8 without BOM"),
    ("not TOML", "[schedules]", "[schedules", "fleet.toml:12: not valid TOML"),
]


@pytest.mark.parametrize(("before", "after", "line"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_named_with_its_line_and_its_remedy(before: str, after: str, line: str) -> None:
    assert GOOD.count(before) == 1, "the table above means one place"
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(GOOD.replace(before, after))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


CHECKS = '\n[health_checks]\ntarget_groups = ["web"]\n'


@pytest.mark.parametrize(("more", "said"), [
    ("threshold = 4", "health_checks.threshold: must be less than anchors"),
    ("rovers = 4", "health_checks.rovers: at most 3 where each stays 2 minutes with a host"),
    ("interval = 20", "health_checks.interval: invalid enum value 20"),
    ('path = "health"', "health_checks.path: expected `str` matching regex"),
])
def test_a_mistake_in_the_health_checks_is_named(more: str, said: str) -> None:
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(f"{GOOD}{CHECKS}{more}\n")
    assert str(caught.value).startswith(f"fleet.toml:25: {said}")


def test_health_checks_name_a_target_group() -> None:
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:24: health_checks.target_groups: name at least one"):
        fleet.parse(GOOD + CHECKS.replace('["web"]', "[]"))
    assert fleet.parse(GOOD + CHECKS + "interval = 30\nrovers = 5").health_checks is not None


TUNNELS = '\n[tunnels]\nmaster = "us-east-1"\n'


@pytest.mark.parametrize(("more", "said"), [
    ("slots = 1", "tunnels.slots: expected `int` >= 2"),
    ("health_port = 3306", "tunnels.health_port: must not be the port of the tunnel itself"),
    ('every = "30s"', "tunnels.every: must lie between 1s and 20s"),
    ('stale = "5s"', "tunnels.stale: must lie between three rounds (6s) and 1m"),
    ('mode = "on"', "tunnels.mode: invalid enum value 'on'"),
    ('tag = "Role"', "tunnels.tag: expected `str` matching regex"),
    ('target_group = "a-name-that-is-longer-than-aws-allows"', "tunnels.target_group: expected `str` matching regex"),
    ('document = "a:b"', "tunnels.document: expected `str` matching regex"),
])
def test_a_mistake_in_the_tunnels_is_named(more: str, said: str) -> None:
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(f"{GOOD}{TUNNELS}{more}\n")
    assert str(caught.value).startswith(f"fleet.toml:25: {said}")


def test_the_master_is_in_a_region_of_the_fleet_and_endpoints_are_of_one_kind() -> None:
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:24: tunnels.master: 'us-east-2' is no region of this"):
        fleet.parse(GOOD + TUNNELS.replace("east-1", "east-2"))
    with pytest.raises(fleet.FleetError, match=r"fleet.toml:26: tunnels.tag: give a group .* or a tag"):
        fleet.parse(GOOD + TUNNELS + 'group = "a"\ntag = "Role=tunnel"')
    read = fleet.parse(GOOD + TUNNELS).tunnels
    assert read and (read.slots, read.every, read.lives_in("us-east-1"), read.lives_in("eu-west-1")) == (
        2, 2, False, True)


def test_the_good_one_is_good() -> None:
    read = fleet.parse(GOOD)
    assert (read.home, read.rank("us-east-1"), read.coordination.strong) == ("eu-west-1", 1, False)
    assert (read.schedules.patience, read.queues[0].timeout) == (120, 60)
    assert read.dead_letters(read.queues[0]) == "default-dead"


def test_a_circle_of_dead_letters_is_named_once_at_its_first_queue() -> None:
    text = GOOD.replace('timeout = "60s"', 'dead_letter = "invoices"') + 'dead_letter = "default"\n'
    text += '[[queues]]\nname = "leads-there"\ndead_letter = "default"\n'
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(text)
    circle = "default -> invoices -> default goes round in a circle; let one of them end elsewhere"
    assert str(caught.value) == f"fleet.toml:18: queues.0.dead_letter: {circle}"


@pytest.mark.parametrize("more", [
    'queue = "default"', 'queue = "invoices"', 'keep = "15d"', 'keep = "400d"', 'timezone = "US/Central"'])
def test_what_schedules_may_say(more: str) -> None:
    fleet.parse(GOOD.replace('timezone = "Europe/Stockholm"', more))


def test_the_default_queue_need_not_be_there_until_a_job_uses_it() -> None:
    assert fleet.parse(GOOD.partition("[[queues]]")[0]).schedules.queue == "default"


@pytest.mark.parametrize("more", [
    'dead_letter = "lost-dead"', 'dead_letter = "invoices"', 'dead_letter = "invoices-dead"',
    'fifo = true\ndead_letter = "lost-dead"'])
def test_where_dead_letters_may_go(more: str) -> None:
    fleet.parse(GOOD.replace('timeout = "60s"', more))


@pytest.mark.parametrize("address", ["ops@example.org", "ops+lamps@mail.example.org"])
def test_mail_addresses(address: str) -> None:
    assert fleet.parse(f'alarm_email = "{address}"\n{GOOD}').alarm_email == address


@pytest.mark.parametrize("address", [
    "", "ops", "@example.org", "a b@example.org", "a@b@example.org", "ops@.org", "a@b."])
def test_no_mail_addresses(address: str) -> None:
    with pytest.raises(fleet.FleetError, match="is not a mail address"):
        fleet.parse(f'alarm_email = "{address}"\n{GOOD}')


def test_every_name_fits_what_aws_allows() -> None:
    """Lambda: 64 characters for a function's name; SQS: 80 for a queue's, `.fifo` included."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    stage = "s" * 16
    assert not packaging.STAGE.fullmatch(f"{stage}s"), "a stage has at most 16"
    stack = len(f"{'n' * fleet.LONGEST_NAME}-{stage}-")
    assert max(stack + len(name) for name in config["stages"]["any"]["lambda_functions"]) <= 64
    assert stack + len(f"{'q' * 31}-dead.fifo") <= 80


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(GOOD.replace('"us-east-1"', '"eu-west-1"').replace('"invoices"', '"default"'))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["regions.1.name", "queues.1.name"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = '\xc3'"])
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(content)
    with pytest.raises(fleet.FleetError, match=r"fleet\.toml:1: cannot be read .*; write it in UTF-8"):
        fleet.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(fleet.FleetError, match=r"fleet\.toml:1: cannot be read"):
        fleet.load(tmp_path / "fleet.toml")


def test_the_fleet_that_ships_is_good() -> None:
    assert fleet.load(ROOT / "fleet.toml").coordination.strong


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    _read_or_refuse(text)


@given(st.data())
def test_any_change_of_a_good_file_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 30)))
    _read_or_refuse(GOOD[:start] + data.draw(st.text("\"'[]{}=.,#\n\\ 0a-\x00é", max_size=8)) + GOOD[end:])


@pytest.mark.parametrize("deep", ["a = " + "[" * 5000, "a." * 5000 + "b = 1", "[" + "a." * 5000 + "a]"])
def test_deep_nesting_is_refused(deep: str) -> None:
    _read_or_refuse(deep)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from(["name", "regions", "coordination", "schedules", "queues", "alarm_email"]), VALUES)
def test_any_value_for_any_key_is_read_or_refused(key: str, value: Any) -> None:
    good = {"name": '"a"', "regions": '[{name = "eu-west-1"}]', "coordination": '{regions = ["eu-west-1"]}'}
    _read_or_refuse("\n".join(f"{name} = {text}" for name, text in (good | {key: _toml(value)}).items()))


def _toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case None:
            return '""'
        case _:
            return msgspec.json.encode(value).decode()


def _read_or_refuse(text: str) -> None:
    try:
        read = fleet.parse(text)
    except fleet.FleetError as error:
        for line in str(error).splitlines():
            number = re.match(r"fleet\.toml:(\d+): .+", line)
            assert number and 1 <= int(number[1]) <= text.count("\n") + 1
    else:
        assert read.regions and read.coordination.regions


STAGED = GOOD + """
[stages.test.schedules]
patience = "90s"

[[stages.test.regions]]
name = "us-east-1"
entrance = {addresses = ["192.0.2.1"]}

[[stages.test.regions]]
name = "eu-west-3"

[stages.other]
queues = []
"""


def test_a_stage_lays_its_own_tables_over_the_rest() -> None:
    plain, test, other = (fleet.parse(STAGED, stage=stage) for stage in ("prod", "test", "other"))
    assert plain == fleet.parse(GOOD) and other.queues == () and other.regions == plain.regions
    assert (test.schedules.patience, test.schedules.timezone) == (90, "Europe/Stockholm")
    assert [region.name for region in test.regions] == ["eu-west-1", "us-east-1", "eu-west-3"]
    assert test.regions[1].entrance == declared.Entrance(addresses=("192.0.2.1",)) and test.queues == plain.queues


@pytest.mark.parametrize(("before", "after", "wanted"), [
    ('patience = "90s"', 'patiense = "90s"', "fleet.toml:24: schedules.patiense: no such key"),
    ('patience = "90s"', "patience = 90", "fleet.toml:24: schedules.patience: expected a span of time"),
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


# docs/fleet.md: one table of keys under the heading of each struct.

DOCUMENTED: dict[str, type[msgspec.Struct]] = {
    "the file": fleet.Fleet,
    "[[regions]]": fleet.Region,
    "[regions.network]": fleet.Network,
    "[coordination]": fleet.Coordination,
    "[schedules]": fleet.Schedules,
    "[schedules.ecs]": fleet.Ecs,
    "[schedules.ssm]": fleet.Ssm,
    "[schedules.http]": fleet.Http,
    "[[queues]]": fleet.Queue,
    "[health_checks]": fleet.HealthChecks,
    "[regions.entrance]": declared.Entrance,
    "[routing]": declared.Routing,
    "[[routing.orders]]": declared.OwnOrder,
    "[tunnels]": tunnels.Tunnels,
    "[databases]": databases.Databases,
    "[[databases.servers]]": databases.Server,
    "[tunnels.hosts]": hosts.Hosts,
    "[[tunnels.hosts.regions]]": hosts.Place,
}


def documented(heading: str) -> dict[str, tuple[str, str]]:
    """Key -> (type, default) of the table under `heading`."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    section = re.search(rf"^##+ `?{re.escape(heading)}`?$(.*?)(?=^##|\Z)", page, re.M | re.S)
    assert section, f"docs/fleet.md has no heading {heading}"
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \|$", section[1], re.M)
    return {key: (kind, default) for key, kind, default in rows}


def default(field: msgspec.structs.FieldInfo) -> str:
    """A field's default as the page writes it."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, msgspec.Struct) or value in ((), {}):
        return "none"
    if isinstance(value, fleet.Duration):
        value = durations.words(value)
    return f"`{msgspec.json.encode(value).decode()}`"


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_page_tells_every_key_and_no_other(heading: str) -> None:
    fields = {field.encode_name: default(field) for field in msgspec.structs.fields(DOCUMENTED[heading])}
    assert {key: told for key, (_, told) in documented(heading).items()} == fields


def test_every_struct_of_the_fleet_is_on_the_page() -> None:
    everything = [value for module in (fleet, declared, tunnels, hosts, databases) for value in vars(module).values()]
    structs = {value for value in everything if isinstance(value, type) and issubclass(value, msgspec.Struct)}
    assert structs == set(DOCUMENTED.values())


@pytest.mark.parametrize("heading", DOCUMENTED)
def test_the_page_tells_every_choice(heading: str) -> None:
    for field in msgspec.structs.fields(DOCUMENTED[heading]):
        if typing.get_origin(field.type) is typing.Literal:
            told, _ = documented(heading)[field.encode_name]
            assert told == ", ".join(f"`{choice}`" for choice in typing.get_args(field.type))
