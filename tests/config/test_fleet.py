"""fleet.toml: every mistake is named with its file, line, key and remedy."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.config import fleet
from chalicelib.config.declared import LONGEST_NAME
from commands.deploy import packaging
from commands.roots import PRODUCT as ROOT
from tests.config.harness import GOOD

# What is put in place of what, and the one line that must come of it.
MISTAKES = [
    ("unknown key", 'takeover_delay = "2m"', 'patiense = "2m"',
     "fleet.toml:14: schedules.patiense: no such key. Remove it"),
    ("unknown table", "[schedules]", "[scheduling]", "fleet.toml:12: scheduling: no such key. Remove it"),
    ("unknown key in a list", 'name = "invoices"', 'name = "invoices"\nfifi = true',
     "fleet.toml:22: queues.1.fifi: no such key"),
    ("wrong type", 'name = "invoices"', "name = 7", "fleet.toml:21: queues.1.name: expected `str`, got `int`"),
    ("wrong type above", 'name = "lamplighter"', "name = []", "fleet.toml:1: name: expected `str`, got `array`"),
    ("number for a span", '"2m"', "120",
     'fleet.toml:14: schedules.takeover_delay: expected a span of time in quotes, as in "10m"'),
    ("not a span", '"60s"', '"a minute"', "fleet.toml:18: queues.0.timeout: 'a minute' is not a span of time"),
    ("missing key", 'name = "us-east-1"', "", "fleet.toml:6: regions.1: the key 'name' is missing here. Add it"),
    ("missing table", '[coordination]\nregions = ["eu-west-1"]', "",
     "fleet.toml:1: the file: the key 'coordination' is missing"),
    ("not a region", '"us-east-1"', '"Virginia"', "fleet.toml:7: regions.1.name: 'Virginia' is not an AWS region"),
    ("region twice", '"us-east-1"', '"eu-west-1"', "fleet.toml:7: regions.1.name: 'eu-west-1' stands here 2 times"),
    ("queue twice", '"invoices"', '"default"',
     "fleet.toml:21: queues.1.name: 'default' stands here 2 times. Remove or rename"),
    ("two coordination regions", '["eu-west-1"]', '["eu-west-1", "eu-west-2"]',
     "fleet.toml:10: coordination.regions: name one region, or"),
    ("three of two sets", '["eu-west-1"]', '["eu-west-1", "eu-west-2", "us-east-1"]',
     "fleet.toml:10: coordination.regions: name one"),
    ("one region three times", '["eu-west-1"]', '["eu-west-1", "eu-west-1", "eu-west-2"]',
     "fleet.toml:10: coordination.regions: name"),
    ("too impatient", '"2m"', '"10s"', "fleet.toml:14: schedules.takeover_delay: must lie between 90s and 5m"),
    ("regions without a network for tasks", 'takeover_delay = "2m"',
     'ecs = {cluster = "c", task_definition = "t", container = "a", roles = ["r"]}',
     "fleet.toml:14: schedules.ecs: eu-west-1, us-east-1 has no subnets for its tasks"),
    ("an ARN of one region", 'takeover_delay = "2m"',
     'ecs = {cluster = "arn:aws:ecs:eu-west-1:1:cluster/c", task_definition = "t", container = "a", roles = ["r"]}',
     "fleet.toml:14: schedules.ecs.cluster:"),
    ("target without its table", 'takeover_delay = "2m"', 'on = "ecs"',
     "fleet.toml:14: schedules.on: 'ecs' needs a table [schedules.ecs]"),
    ("unknown target", 'takeover_delay = "2m"', 'on = "cloud"',
     "fleet.toml:14: schedules.on: invalid enum value 'cloud'"),
    ("longer than a Lambda", '"60s"', '"20m"',
     "fleet.toml:18: queues.0.timeout: must lie between 1s and 13m, since a Lambda ends"),
    ("a name of ours", '"invoices"', '"schedule-runs"',
     "fleet.toml:21: queues.1.name: 'schedule-runs' belongs to Lamplighter"),
    ("out of range", 'timeout = "60s"', "batch = 11", "fleet.toml:18: queues.0.batch: expected `int` <= 10"),
    ("coordination outside of AWS", '["eu-west-1"]', '["Ireland"]',
     "fleet.toml:10: coordination.regions: 'Ireland' is not an AWS region. Write it as in eu-west-1"),
    ("a name too long for Lambda", '"lamplighter"', f'"{"a" * 21}"',
     f"fleet.toml:1: name: '{'a' * 21}' is longer than 20 characters: Lambda's 64 also hold the stage and the"),
    ("a name with a newline", '"lamplighter"', '"lamplighter\\n"', "fleet.toml:1: name: expected `str` matching regex"),
    ("no address", 'name = "lamplighter"', 'name = "lamplighter"\nalarm_email = "ops@example"',
     "fleet.toml:2: alarm_email: 'ops@example' is not a mail address. Write it as in ops@example.org"),
    ("no zone", '"Europe/Stockholm"', '"europe/stockholm"',
     "fleet.toml:13: schedules.timezone: unknown time zone 'europe/stockholm': write Europe/Stockholm"),
    ("a path for a zone", '"Europe/Stockholm"', '"../zones"',
     "fleet.toml:13: schedules.timezone: unknown time zone '../zones': write"),
    ("no such queue", 'takeover_delay = "2m"', 'queue = "invoice"',
     "fleet.toml:14: schedules.queue: there is no queue 'invoice'. Declare it, or write one of default, invoices"),
    ("runs forgotten too early", 'takeover_delay = "2m"', 'retention = "14d23h"',
     "fleet.toml:14: schedules.retention: must lie between 15d and 400d, which is longer than SQS keeps messages"),
    ("runs kept too long", 'takeover_delay = "2m"', 'retention = "401d"',
     "fleet.toml:14: schedules.retention: must lie between 15d and 400d"),
    ("dead letters of ours", 'timeout = "60s"', 'dead_letter = "schedule-runs-dead"',
     "fleet.toml:18: queues.0.dead_letter: 'schedule-runs-dead' belongs to Lamplighter's own queues. Choose another"),
    ("dead letters nowhere", 'timeout = "60s"', 'dead_letter = "invoice"',
     "fleet.toml:18: queues.0.dead_letter: there is no queue 'invoice'. Declare it, or let the name end in -dead"),
    ("FIFO to standard", 'timeout = "60s"', 'fifo = true\ndead_letter = "invoices"',
     "fleet.toml:19: queues.0.dead_letter: 'invoices' is a standard queue and 'default' a FIFO one. Name a FIFO queue"),
    ("standard to FIFO", 'timeout = "60s"\n\n[[queues]]\nname = "invoices"',
     'dead_letter = "invoices"\n\n[[queues]]\nname = "invoices"\nfifo = true',
     "fleet.toml:18: queues.0.dead_letter: 'invoices' is a FIFO queue and 'default' a standard one. Name a standard"),
    ("dead letters of both kinds", 'timeout = "60s"', 'fifo = true\ndead_letter = "invoices-dead"',
     "fleet.toml:19: queues.0.dead_letter: 'invoices-dead' is a standard queue and 'default' a FIFO one"),
    ("dead letters shared by both kinds", 'timeout = "60s"\n\n[[queues]]\nname = "invoices"',
     'dead_letter = "lost-dead"\n\n[[queues]]\nname = "invoices"\nfifo = true\ndead_letter = "lost-dead"',
     "fleet.toml:23: queues.1.dead_letter: 'lost-dead' is a standard queue and 'invoices' a FIFO one"),
    ("a circle of one", 'timeout = "60s"', 'dead_letter = "default"',
     "fleet.toml:18: queues.0.dead_letter: default -> default goes round in a circle. Let one of them end elsewhere"),
    ("a byte order mark", 'name = "lamplighter"', '\ufeffname = "lamplighter"',
     "fleet.toml:1: begins with a byte order mark. Save it as UTF-8 without BOM"),
    ("not TOML", "[schedules]", "[schedules", "fleet.toml:12: not valid TOML"),
]


@pytest.mark.parametrize(("before", "after", "line"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_named_with_its_line_and_its_remedy(before: str, after: str, line: str) -> None:
    assert GOOD.count(before) == 1, "the table above means one place"
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(GOOD.replace(before, after))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_tasks_that_share_the_worker_may_take_a_minute_longer() -> None:
    longest = GOOD.replace('"60s"', '"14m"')
    with pytest.raises(fleet.FleetError, match=r'With tasks\.isolation = "shared" it is 14m'):
        fleet.parse(longest)
    shared = fleet.parse(longest + '\n[tasks]\nisolation = "shared"\n')
    assert (shared.tasks.isolation, shared.queues[0].timeout) == ("shared", 840)
    with pytest.raises(fleet.FleetError, match="must lie between 1s and 14m"):
        fleet.parse(GOOD.replace('"60s"', '"20m"') + '\n[tasks]\nisolation = "shared"\n')


def test_the_good_one_is_good() -> None:
    read = fleet.parse(GOOD)
    assert (read.home, read.rank("us-east-1"), read.coordination.strong) == ("eu-west-1", 1, False)
    assert (read.schedules.takeover_delay, read.queues[0].timeout) == (120, 60)
    assert read.dead_letters(read.queues[0]) == "default-dead"


def test_a_circle_of_dead_letters_is_named_once_at_its_first_queue() -> None:
    text = GOOD.replace('timeout = "60s"', 'dead_letter = "invoices"') + 'dead_letter = "default"\n'
    text += '[[queues]]\nname = "leads-there"\ndead_letter = "default"\n'
    with pytest.raises(fleet.FleetError) as caught:
        fleet.parse(text)
    circle = "default -> invoices -> default goes round in a circle. Let one of them end elsewhere"
    assert str(caught.value) == f"fleet.toml:18: queues.0.dead_letter: {circle}"


@pytest.mark.parametrize("more", [
    'queue = "default"', 'queue = "invoices"', 'retention = "15d"', 'retention = "400d"', 'timezone = "US/Central"'])
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
    stack = len(f"{'n' * LONGEST_NAME}-{stage}-")
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
    with pytest.raises(fleet.FleetError, match=r"fleet\.toml:1: cannot be read .*\. Write it in UTF-8"):
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


@pytest.mark.slow
@pytest.mark.parametrize("deep", ["a = " + "[" * 5000, "a." * 5000 + "b = 1", "[" + "a." * 5000 + "a]"])
def test_deep_nesting_is_refused(deep: str) -> None:
    _read_or_refuse(deep)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.slow
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
