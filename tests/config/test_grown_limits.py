"""The limits that AWS has raised. Each is a setting, and its default is what every region and tool knows."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib import registry
from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.config.fleet import FleetError
from chalicelib.crontab import diagnostics, loader
from chalicelib.infrastructure import template
from chalicelib.infrastructure.files import files
from chalicelib.tasks.client import Call, Sender, SendError
from chalicelib.tasks.queues import QueueError, SqsAdapter, most_bytes
from tests.lint import findings
from tests.tasks.fakes import URL, SqsClient

HEAD = 'name = "f"\nregions = [{name = "eu-west-1"}]\ncoordination = {regions = ["eu-west-1"]}\n'
LONG = HEAD + '[runners]\nlambda_timeout = "30m"\n'
MAIL = '[[queues]]\nname = "mail"\n'


def parts(text: str) -> dict[str, Any]:
    """The properties of each part of the fleet's template."""
    static, functions = json.loads(files()["resources.json"]), [each.function for each in registry.lambdas()]
    whole = template.merged(static, fleet.parse(text), "s", functions)
    return {id: part["Properties"] for id, part in whole["Resources"].items()}


def errors(tmp_path: Path, declared: Fleet, on: str, timeout: str) -> list[str]:
    """What is wrong with jobs of this time-out in each kind of file."""
    (tmp_path / "cron" / "cron.d").mkdir(parents=True, exist_ok=True)
    (tmp_path / "cron" / "cron.d" / "x").write_text(f"# lamp: on={on} timeout={timeout}\n* * * * * root true\n")
    if on == "lambda":
        (tmp_path / "cron" / "x.py").write_text(
            f'from lamplighter import job\n\n\n@job("* * * * *", timeout="{timeout}")\ndef run() -> None:\n    pass\n')
    return [one.message for one in diagnostics.errors(loader.of_fleet(tmp_path, declared)[1])]


@pytest.mark.parametrize(("text", "on", "fits", "too_long"), [
    (HEAD, "lambda", "13m", "13m1s"), (LONG, "lambda", "28m", "28m1s")])
def test_a_job_may_take_two_minutes_less_than_a_lambda_lives(
    tmp_path: Path, text: str, on: str, fits: str, too_long: str
) -> None:
    declared = fleet.parse(text)
    assert errors(tmp_path, declared, on, fits) == []
    assert len(errors(tmp_path, declared, on, too_long)) == 2  # the line and the function


@pytest.mark.parametrize(("more", "timeout", "most"), [
    ("", "14m", "13m"), ('[runners]\nlambda_timeout = "30m"\n', "29m", "28m"),
    ('[runners]\nlambda_timeout = "30m"\n[tasks]\nisolation = "shared"\n', "30m", "29m")])
def test_a_queue_may_take_as_long_as_its_worker_waits(more: str, timeout: str, most: str) -> None:
    with pytest.raises(FleetError, match=f"must lie between 1s and {most}"):
        fleet.parse(f'{HEAD}{more}{MAIL}timeout = "{timeout}"\n')
    assert fleet.parse(f'{HEAD}{more}{MAIL}timeout = "{most}"\n').queues[0].timeout == int(most[:-1]) * 60


def test_the_stack_has_the_time_outs_of_aws_years_ago_unless_fleet_toml_says_more() -> None:
    for text, life in ((HEAD, 900), (LONG, 1800)):
        found = parts(f'{text}{MAIL}timeout = "{life // 60 - 2}m"\n')
        assert found["SchedulesWork"]["Timeout"] == found["TasksWork"]["Timeout"] == life
        assert found["SchedulesRunner"]["Timeout"] == life - 60
        assert found["ScheduleRuns"]["VisibilityTimeout"] == found["QueueMail"]["VisibilityTimeout"] == life + 60


@pytest.mark.parametrize("span", ["14m59s", "30m1s"])
def test_a_life_that_no_lambda_has_is_refused(span: str) -> None:
    with pytest.raises(FleetError, match="must lie between 15m and 30m"):
        fleet.parse(LONG.replace("30m", span))


def test_messages_have_the_size_that_every_queue_takes_unless_fleet_toml_says_more() -> None:
    found = parts(HEAD + MAIL)
    assert not any("MaximumMessageSize" in one for one in found.values())
    found = parts(f"{HEAD}[tasks]\nmessage_kib = 1024\n{MAIL}batch = 3\n")
    assert found["QueueMail"]["MaximumMessageSize"] == found["QueueMailDead"]["MaximumMessageSize"] == 1_048_576
    assert found["TasksRunner"]["Environment"]["Variables"]["LAMP_MESSAGE_KIB"] == "1024"


def test_a_batch_of_long_messages_that_no_invocation_holds_is_refused() -> None:
    with pytest.raises(FleetError, match=r"4 messages of 1024 KiB do not fit .* Write at most 3, or"):
        fleet.parse(f"{HEAD}[tasks]\nmessage_kib = 1024\n{MAIL}batch = 4\n")


def test_a_sender_takes_what_the_queues_take(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SqsClient()
    monkeypatch.setattr(client, "client", lambda service, region: fake)
    call, url = Call("t", {"text": "x" * 300_000}, queue="mail"), {"mail": f"{URL}mail"}
    with pytest.raises(SendError, match="a queue takes 258,048"):
        Sender(url, SqsAdapter("eu-west-1"), most_bytes=most_bytes({})).send(call)
    assert Sender(url, SqsAdapter("eu-west-1"), most_bytes=most_bytes({"LAMP_MESSAGE_KIB": "1024"})).send(call)


@pytest.mark.parametrize("text", ["", "1 MiB", "255", "1025", "-1"])
def test_a_size_that_no_queue_has_is_refused(text: str) -> None:
    with pytest.raises(QueueError, match="LAMP_MESSAGE_KIB is"):
        most_bytes({"LAMP_MESSAGE_KIB": text})


def test_cfn_lint_knows_the_time_out() -> None:
    function = {"Type": "AWS::Serverless::Function", "Properties": {
        "Runtime": "python3.13", "Handler": "a.b", "CodeUri": "s3://b/k", "Timeout": 1800}}
    assert findings({"Transform": "AWS::Serverless-2016-10-31", "Resources": {"F": function}}, ["us-east-1"]) == []
